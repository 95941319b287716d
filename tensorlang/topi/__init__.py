"""Operators as tensor expressions, one family a file.

The table `NUMPY` of a file names its operators and gives each one's reference on NumPy arrays, which takes the
arrays in the order of the kernel's parameters and those options of the operator that shapes do not tell. An operator
takes sizes first, in the order of the published benchmarks (batch, space, channels, kernel), then options by the
names and in the order that they have in torch; on the command line these are integers, and `name=value` for options:
`conv2d:1,56,56,64,64,1,layout=NHWC`.
"""

"""The intermediate representation: nodes, the table of ops, printing, verification, and the interpreter."""

from tensorlang.ir import ops as ops

; A call of a kernel with NumPy arrays that are as they were when they were checked. Compiled once per process by
; records.py, which fills in the size of an object's header and the addresses of the Python objects named $${...} here.

; PyArrayObject. The last word of the header is the type.
%Array = type { [${header} x i8], ptr, i32, ptr, ptr, ptr, ptr, i32 } ; data, rank, shape, strides, base, dtype, flags

; The data of the array that records.py makes: whether a call is using it (and with it the scratch memory behind),
; the kernel, its arguments, the numbers of arrays and of outputs, then of each array: type, data, rank, dtype, flags,
; shape.
%Record = type { i64, ptr, ptr, i64, i64, [0 x i64] }

declare ptr @PyObject_GetAttr(ptr, ptr)
declare ptr @PyObject_VectorcallMethod(ptr, ptr, i64, ptr)
declare i64 @PyTuple_Size(ptr)
declare ptr @PyTuple_GetItem(ptr, i64)
declare ptr @PyEval_SaveThread()
declare void @PyEval_RestoreThread(ptr)
declare void @Py_IncRef(ptr)
declare void @Py_DecRef(ptr)
declare void @llvm.memcpy.p0.p0.i64(ptr, ptr, i64, i1)

; Kernel.__call__, a method of the kind METH_FASTCALL | METH_KEYWORDS: the values of keywords follow the others.
; It returns the last array, which is the output, or the tuple of the outputs, which has to be given as `out`. Whatever is
; not as it was goes to Kernel._checked_call.
define ptr @tl_call(ptr %kernel, ptr %args, i64 %positional, ptr %names) uwtable {
entry:
  %owner = call ptr @PyObject_GetAttr(ptr %kernel, ptr inttoptr (i64 ${record} to ptr))
  %failed = icmp eq ptr %owner, null
  br i1 %failed, label %fail, label %look
look:
  %owner.type = call i64 @type(ptr %owner)
  %recorded = icmp eq i64 %owner.type, ${ndarray}
  br i1 %recorded, label %keywords, label %general
keywords:
  %record.at = getelementptr %Array, ptr %owner, i64 0, i32 1
  %record = load ptr, ptr %record.at
  %count.at = getelementptr %Record, ptr %record, i64 0, i32 3
  %count = load i64, ptr %count.at
  %outputs.at = getelementptr %Record, ptr %record, i64 0, i32 4
  %outputs = load i64, ptr %outputs.at
  %single = icmp eq i64 %outputs, 1
  %before = sub i64 %count, %outputs
  %plain = icmp eq ptr %names, null
  br i1 %plain, label %unnamed, label %named
unnamed:
  %all = icmp eq i64 %positional, %count
  %complete = and i1 %all, %single
  br i1 %complete, label %last, label %general
named:
  %names.count = call i64 @PyTuple_Size(ptr %names)
  %one = icmp eq i64 %names.count, 1
  %inputs = icmp eq i64 %positional, %before
  %fits = and i1 %one, %inputs
  br i1 %fits, label %out, label %general
out:
  %name = call ptr @PyTuple_GetItem(ptr %names, i64 0)
  %name.out = icmp eq ptr %name, inttoptr (i64 ${out} to ptr)
  br i1 %name.out, label %outs, label %general
outs:
  br i1 %single, label %last, label %several
last:
  %last.number = sub i64 %count, 1
  %last.at = getelementptr ptr, ptr %args, i64 %last.number
  %last.array = load ptr, ptr %last.at
  br label %compare
several:
  %given.at = getelementptr ptr, ptr %args, i64 %positional
  %given = load ptr, ptr %given.at
  %given.type = call i64 @type(ptr %given)
  %is.tuple = icmp eq i64 %given.type, ${tuple}
  br i1 %is.tuple, label %sized, label %general
sized:
  %given.size = call i64 @PyTuple_Size(ptr %given)
  %enough = icmp eq i64 %given.size, %outputs
  br i1 %enough, label %join, label %general
join:
  %joined = alloca ptr, i64 %count
  %bytes = mul i64 %before, 8
  call void @llvm.memcpy.p0.p0.i64(ptr %joined, ptr %args, i64 %bytes, i1 false)
  br label %each
each:
  %number = phi i64 [ 0, %join ], [ %number.next, %each ]
  %item = call ptr @PyTuple_GetItem(ptr %given, i64 %number)
  %place = add i64 %before, %number
  %item.at = getelementptr ptr, ptr %joined, i64 %place
  store ptr %item, ptr %item.at
  %number.next = add i64 %number, 1
  %done = icmp eq i64 %number.next, %outputs
  br i1 %done, label %compare, label %each
compare:
  %arrays = phi ptr [ %args, %last ], [ %joined, %each ]
  %result = phi ptr [ %last.array, %last ], [ %given, %each ]
  %same = call i1 @unchanged(ptr %record, ptr %arrays)
  br i1 %same, label %claim, label %general
claim:
  %claimed = cmpxchg ptr %record, i64 0, i64 1 acquire monotonic
  %free = extractvalue { i64, i1 } %claimed, 1
  br i1 %free, label %run, label %general
run:
  %code.at = getelementptr %Record, ptr %record, i64 0, i32 1
  %code = load ptr, ptr %code.at
  %arguments.at = getelementptr %Record, ptr %record, i64 0, i32 2
  %arguments = load ptr, ptr %arguments.at
  %thread = call ptr @PyEval_SaveThread()
  call void %code(i64 1, ptr %arguments)
  call void @PyEval_RestoreThread(ptr %thread)
  store atomic i64 0, ptr %record release, align 8
  call void @Py_IncRef(ptr %result)
  call void @Py_DecRef(ptr %owner)
  ret ptr %result
general:
  call void @Py_DecRef(ptr %owner)
  %checked = call ptr @checked(ptr %kernel, ptr %args, i64 %positional, ptr %names)
  ret ptr %checked
fail:
  ret ptr null
}

; kernel._checked_call with these arguments. It is a method, which wants the kernel in front of them.
define internal ptr @checked(ptr %kernel, ptr %args, i64 %positional, ptr %names) uwtable {
entry:
  %plain = icmp eq ptr %names, null
  br i1 %plain, label %all, label %named
named:
  %names.count = call i64 @PyTuple_Size(ptr %names)
  br label %all
all:
  %keywords = phi i64 [ 0, %entry ], [ %names.count, %named ]
  %count = add i64 %positional, %keywords
  %size = mul i64 %count, 8
  %with.kernel = add i64 %count, 1
  %stack = alloca ptr, i64 %with.kernel
  store ptr %kernel, ptr %stack
  %rest = getelementptr ptr, ptr %stack, i64 1
  call void @llvm.memcpy.p0.p0.i64(ptr %rest, ptr %args, i64 %size, i1 false)
  %before = add i64 %positional, 1
  %result = call ptr @PyObject_VectorcallMethod(ptr inttoptr (i64 ${general} to ptr), ptr %stack, i64 %before, ptr %names)
  ret ptr %result
}

define internal i64 @type(ptr %object) {
  %end = getelementptr i8, ptr %object, i64 ${header}
  %type.at = getelementptr i64, ptr %end, i64 -1
  %type = load i64, ptr %type.at
  ret i64 %type
}

; Are these arrays in the states that the record has?
define internal i1 @unchanged(ptr %record, ptr %arrays) {
entry:
  %count.at = getelementptr %Record, ptr %record, i64 0, i32 3
  %count = load i64, ptr %count.at
  %states = getelementptr %Record, ptr %record, i64 0, i32 5
  br label %next
next:
  %number = phi i64 [ 0, %entry ], [ %following, %shapes ]
  %state = phi ptr [ %states, %entry ], [ %after, %shapes ]
  %done = icmp eq i64 %number, %count
  br i1 %done, label %yes, label %types
types:
  %slot = getelementptr ptr, ptr %arrays, i64 %number
  %array = load ptr, ptr %slot
  %type = call i64 @type(ptr %array)
  %type.expected = load i64, ptr %state
  %type.same = icmp eq i64 %type, %type.expected
  br i1 %type.same, label %fields, label %no
fields:
  %data.at = getelementptr %Array, ptr %array, i64 0, i32 1
  %data = load i64, ptr %data.at
  %rank.at = getelementptr %Array, ptr %array, i64 0, i32 2
  %rank32 = load i32, ptr %rank.at
  %rank = zext i32 %rank32 to i64
  %dtype.at = getelementptr %Array, ptr %array, i64 0, i32 6
  %dtype = load i64, ptr %dtype.at
  %flags.at = getelementptr %Array, ptr %array, i64 0, i32 7
  %flags32 = load i32, ptr %flags.at
  %flags = zext i32 %flags32 to i64
  %data.expected.at = getelementptr i64, ptr %state, i64 1
  %data.expected = load i64, ptr %data.expected.at
  %rank.expected.at = getelementptr i64, ptr %state, i64 2
  %rank.expected = load i64, ptr %rank.expected.at
  %dtype.expected.at = getelementptr i64, ptr %state, i64 3
  %dtype.expected = load i64, ptr %dtype.expected.at
  %flags.expected.at = getelementptr i64, ptr %state, i64 4
  %flags.expected = load i64, ptr %flags.expected.at
  %data.same = icmp eq i64 %data, %data.expected
  %rank.same = icmp eq i64 %rank, %rank.expected
  %dtype.same = icmp eq i64 %dtype, %dtype.expected
  %flags.same = icmp eq i64 %flags, %flags.expected
  %two = and i1 %data.same, %rank.same
  %three = and i1 %two, %dtype.same
  %four = and i1 %three, %flags.same
  br i1 %four, label %shape, label %no
shape:
  %shape.at = getelementptr %Array, ptr %array, i64 0, i32 3
  %extents = load ptr, ptr %shape.at
  %extents.expected = getelementptr i64, ptr %state, i64 5
  %after = getelementptr i64, ptr %extents.expected, i64 %rank
  %following = add i64 %number, 1
  br label %shapes
shapes:
  %axis = phi i64 [ 0, %shape ], [ %axis.next, %extent ]
  %shape.done = icmp eq i64 %axis, %rank
  br i1 %shape.done, label %next, label %extent
extent:
  %extent.at = getelementptr i64, ptr %extents, i64 %axis
  %extent.is = load i64, ptr %extent.at
  %extent.expected.at = getelementptr i64, ptr %extents.expected, i64 %axis
  %extent.expected = load i64, ptr %extent.expected.at
  %extent.same = icmp eq i64 %extent.is, %extent.expected
  %axis.next = add i64 %axis, 1
  br i1 %extent.same, label %shapes, label %no
yes:
  ret i1 true
no:
  ret i1 false
}

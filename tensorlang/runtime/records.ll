; Are NumPy arrays in the states that they were in? Compiled once per process by records.py, which fills in the size of
; an object's header.
;
; PyArrayObject, after the header, the last word of which is the type: data, rank (32 bits), shape, strides, base, dtype,
; flags (32 bits). `expected` has of each array: type, data, rank, dtype, flags, then its shape.

define i64 @tl_unchanged(ptr %expected, i64 %count, i64 %a0, i64 %a1, i64 %a2, i64 %a3, i64 %a4, i64 %a5, i64 %a6, i64 %a7) {
entry:
  %arrays = alloca [8 x i64]
  store i64 %a0, ptr %arrays
  %at1 = getelementptr i64, ptr %arrays, i64 1
  store i64 %a1, ptr %at1
  %at2 = getelementptr i64, ptr %arrays, i64 2
  store i64 %a2, ptr %at2
  %at3 = getelementptr i64, ptr %arrays, i64 3
  store i64 %a3, ptr %at3
  %at4 = getelementptr i64, ptr %arrays, i64 4
  store i64 %a4, ptr %at4
  %at5 = getelementptr i64, ptr %arrays, i64 5
  store i64 %a5, ptr %at5
  %at6 = getelementptr i64, ptr %arrays, i64 6
  store i64 %a6, ptr %at6
  %at7 = getelementptr i64, ptr %arrays, i64 7
  store i64 %a7, ptr %at7
  br label %next
next:
  %number = phi i64 [0, %entry], [%following, %shapes]
  %state = phi ptr [%expected, %entry], [%after, %shapes]
  %done = icmp eq i64 %number, %count
  br i1 %done, label %yes, label %types
types:
  %slot = getelementptr i64, ptr %arrays, i64 %number
  %address = load i64, ptr %slot
  %object = inttoptr i64 %address to ptr
  %fields = getelementptr i8, ptr %object, i64 ${header}
  %type.at = getelementptr i64, ptr %fields, i64 -1
  %type = load i64, ptr %type.at
  %type.expected = load i64, ptr %state
  %type.same = icmp eq i64 %type, %type.expected
  br i1 %type.same, label %arrays_, label %no
arrays_:
  %data = load i64, ptr %fields
  %rank.at = getelementptr i64, ptr %fields, i64 1
  %rank32 = load i32, ptr %rank.at
  %rank = zext i32 %rank32 to i64
  %dtype.at = getelementptr i64, ptr %fields, i64 5
  %dtype = load i64, ptr %dtype.at
  %flags.at = getelementptr i64, ptr %fields, i64 6
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
  %all = and i1 %three, %flags.same
  br i1 %all, label %shape, label %no
shape:
  %shape.at = getelementptr i64, ptr %fields, i64 2
  %extents = load ptr, ptr %shape.at
  %extents.expected = getelementptr i64, ptr %state, i64 5
  br label %shapes
shapes:
  %axis = phi i64 [0, %shape], [%axis.next, %extent]
  %after = getelementptr i64, ptr %extents.expected, i64 %rank
  %following = add i64 %number, 1
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
  ret i64 1
no:
  ret i64 0
}

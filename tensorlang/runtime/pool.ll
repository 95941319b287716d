; The thread pool: tl_launch(fn, ctx, n) runs fn(ctx, begin, end, thread) over 0 <= begin < end <= n, on all threads.
;
; LLVM IR text, compiled once per process by threads.py, which fills in ${pause} (the CPU's hint for a waiting loop)
; and ${monotonic} (the number of the monotonic clock). Needs POSIX threads only.
;
; How it works
;   One launch runs at a time. The launcher publishes the job, opens the gate with a number of tickets, works itself,
;   closes the gate and waits for the workers inside. A worker takes a ticket to enter, helps, and leaves.
;   So a launch never waits for a worker that has not come yet (asleep, or kept off its core by another process),
;   and a worker that comes late finds no ticket and can never see half of an old and half of a new job.
;   Every thread has a slice of the iterations of its own, the same one in each launch, so that what a small kernel
;   touches is still in the cache of its core when it is called again. Whoever works takes chunks of its own slice, then
;   of those of the others, until none is left: large ones first, single ones at the end, so that threads of unequal
;   speed finish together, and nobody waits for a thread that does not come.
;   A launch from inside a launch, or while another one runs, is done by the caller alone.
;   Idle workers spin for 30 us, then sleep. The launcher does the same while it waits for the last worker.
;
; The gate is one 64-bit word:   generation (32 bits) | tickets left (16 bits) | workers inside (16 bits)
;
; Memory ordering
;   The gate orders everything: storing it publishes the job (seq_cst, hence release), taking a ticket acquires the job,
;   leaving releases the worker's results, and the launcher acquires them when it reads "nobody inside".
;   The counters @next need no ordering of their own.
;   Sleep and wake: the one side writes @sleepers and then reads the gate, the other writes the gate and then reads
;   @sleepers. All four are seq_cst, so at least one side sees the other. The sleeper looks at the gate and falls asleep
;   under @mutex, and the waker passes through @mutex before it signals, so the signal cannot come in between.
;   The launcher's sleep (@launcher_sleeps, woken by the last worker out) follows the same rule.

; Words that different threads write lie 128 bytes apart (two cache lines: CPUs fetch them in pairs).
@gate = internal global [16 x i64] zeroinitializer, align 128
@next = internal global [64 x [16 x i64]] zeroinitializer, align 128 ; where each slice goes on
@busy = internal global [16 x i64] zeroinitializer, align 128
@sleepers = internal global [16 x i64] zeroinitializer, align 128
@launcher_sleeps = internal global [16 x i64] zeroinitializer, align 128

; The job, written by the launcher while the gate is closed.
@job_fn = internal global ptr null, align 128
@job_ctx = internal global ptr null
@job_n = internal global i64 0
@job_slices = internal global i64 0

; Set by tl_init: how many threads work on a launch, launcher included. @workers is how many exist (-1: none started).
@threads = internal global i64 1
@workers = internal global i64 -1

; pthread_mutex_t, pthread_cond_t, pthread_key_t: no platform needs more than 64 bytes.
@mutex = internal global [128 x i8] zeroinitializer, align 128
@wake = internal global [128 x i8] zeroinitializer, align 128
@done = internal global [128 x i8] zeroinitializer, align 128
@thread_key = internal global i64 0
@has_thread_key = internal global i1 false

declare i32 @pthread_create(ptr, ptr, ptr, ptr)
declare i32 @pthread_detach(i64)
declare i32 @pthread_mutex_init(ptr, ptr)
declare i32 @pthread_mutex_lock(ptr)
declare i32 @pthread_mutex_unlock(ptr)
declare i32 @pthread_cond_init(ptr, ptr)
declare i32 @pthread_cond_wait(ptr, ptr)
declare i32 @pthread_cond_signal(ptr)
declare i32 @pthread_cond_broadcast(ptr)
declare i32 @pthread_key_create(ptr, ptr)
declare ptr @pthread_getspecific(i64)
declare i32 @pthread_setspecific(i64, ptr)
declare i32 @clock_gettime(i32, ptr)
declare i64 @llvm.umin.i64(i64, i64)
declare i64 @llvm.umax.i64(i64, i64)

; ------------------------------------------------------------------------------------------------ interface

; Makes the pool ready for `threads` threads, with no worker yet. Called once, and again in a child after fork (whose
; copy of the pool has no workers, and locks in any state).
define void @tl_init(i64 %threads) {
  store i64 %threads, ptr @threads
  store i64 -1, ptr @workers
  store i64 0, ptr @gate
  store i64 0, ptr @sleepers
  store i64 0, ptr @launcher_sleeps
  call i32 @pthread_mutex_init(ptr @mutex, ptr null)
  call i32 @pthread_cond_init(ptr @wake, ptr null)
  call i32 @pthread_cond_init(ptr @done, ptr null)
  %known = load i1, ptr @has_thread_key
  br i1 %known, label %ready, label %make_key
make_key:
  call i32 @pthread_key_create(ptr @thread_key, ptr null)
  store i1 true, ptr @has_thread_key
  br label %ready
ready:
  store atomic i64 0, ptr @busy seq_cst, align 8
  ret void
}

define void @tl_launch(ptr %fn, ptr %ctx, i64 %n) {
  %nothing = icmp sle i64 %n, 0
  br i1 %nothing, label %return, label %some
some:
  %single = icmp eq i64 %n, 1
  %threads = load i64, ptr @threads
  %one_thread = icmp eq i64 %threads, 1
  %alone = or i1 %single, %one_thread
  br i1 %alone, label %by_itself, label %try
try:
  %claim = cmpxchg ptr @busy, i64 0, i64 1 acquire monotonic
  %claimed = extractvalue { i64, i1 } %claim, 1
  br i1 %claimed, label %together, label %by_itself

by_itself:
  ; In a launch from inside a launch, per-thread memory is told apart by the number of the thread that is running.
  %key = load i64, ptr @thread_key
  %mine = call ptr @pthread_getspecific(i64 %key)
  %thread = ptrtoint ptr %mine to i64
  call void %fn(ptr %ctx, i64 0, i64 %n, i64 %thread)
  ret void

together:
  call void @start_workers()
  store ptr %fn, ptr @job_fn
  store ptr %ctx, ptr @job_ctx
  store i64 %n, ptr @job_n
  %useful = call i64 @llvm.umin.i64(i64 %threads, i64 %n)
  %slices = call i64 @llvm.umin.i64(i64 %useful, i64 64)
  store i64 %slices, ptr @job_slices
  br label %cut
cut:
  %slice = phi i64 [ 0, %together ], [ %slice.next, %cut ]
  %first = call i64 @slice_begin(i64 %n, i64 %slices, i64 %slice)
  %counter = getelementptr [16 x i64], ptr @next, i64 %slice
  store atomic i64 %first, ptr %counter monotonic, align 8
  %slice.next = add i64 %slice, 1
  %more = icmp slt i64 %slice.next, %slices
  br i1 %more, label %cut, label %open
open:
  call void @open_gate(i64 %n)
  call void @work(i64 0)
  call void @close_gate()
  store atomic i64 0, ptr @busy release, align 8
  br label %return
return:
  ret void
}

; ------------------------------------------------------------------------------------------------ launcher

; Starts threads - 1 workers if none were started yet. If the system refuses some, the pool does with fewer.
define internal void @start_workers() {
  %handle = alloca i64
  %before = load i64, ptr @workers
  %started = icmp sge i64 %before, 0
  br i1 %started, label %return, label %start
start:
  %threads = load i64, ptr @threads
  br label %next_worker
next_worker:
  %number = phi i64 [ 1, %start ], [ %number.next, %created ]
  %more = icmp slt i64 %number, %threads
  br i1 %more, label %create, label %finish
create:
  %number.ptr = inttoptr i64 %number to ptr
  %error = call i32 @pthread_create(ptr %handle, ptr null, ptr @worker, ptr %number.ptr)
  %failed = icmp ne i32 %error, 0
  br i1 %failed, label %finish, label %created
created:
  %thread = load i64, ptr %handle
  call i32 @pthread_detach(i64 %thread)
  %number.next = add i64 %number, 1
  br label %next_worker
finish:
  %count = sub i64 %number, 1
  store i64 %count, ptr @workers
  br label %return
return:
  ret void
}

; Opens the gate for a new generation, with one ticket for each worker that could be of use, and wakes as many sleepers
; as are needed beside the workers that are awake.
define internal void @open_gate(i64 %n) {
  %workers = load i64, ptr @workers
  %others = sub i64 %n, 1
  %tickets = call i64 @llvm.umin.i64(i64 %others, i64 %workers)
  %old = load atomic i64, ptr @gate monotonic, align 8
  %generation.old = lshr i64 %old, 32
  %generation = add i64 %generation.old, 1
  %high = shl i64 %generation, 32
  %middle = shl i64 %tickets, 16
  %open = or i64 %high, %middle
  store atomic i64 %open, ptr @gate seq_cst, align 8

  %sleepers = load atomic i64, ptr @sleepers seq_cst, align 8
  %awake = sub i64 %workers, %sleepers
  %missing = sub i64 %tickets, %awake
  %wake_some = icmp sgt i64 %missing, 0
  br i1 %wake_some, label %wake, label %return
wake:
  call i32 @pthread_mutex_lock(ptr @mutex)
  call i32 @pthread_mutex_unlock(ptr @mutex)
  %wake_all = icmp sge i64 %missing, %sleepers
  br i1 %wake_all, label %broadcast, label %signal
broadcast:
  call i32 @pthread_cond_broadcast(ptr @wake)
  br label %return
signal:
  %left = phi i64 [ %missing, %wake ], [ %left.next, %signal ]
  call i32 @pthread_cond_signal(ptr @wake)
  %left.next = sub i64 %left, 1
  %again = icmp sgt i64 %left.next, 0
  br i1 %again, label %signal, label %return
return:
  ret void
}

; Takes the remaining tickets back and waits until no worker is inside.
define internal void @close_gate() {
  %old = atomicrmw and ptr @gate, i64 -4294901761 seq_cst ; all bits but the 16 of the tickets
  %inside = and i64 %old, 65535
  %empty = icmp eq i64 %inside, 0
  br i1 %empty, label %return, label %wait
wait:
  %start = call i64 @now()
  %deadline = add i64 %start, 30000
  br label %spin
spin:
  call void asm sideeffect "${pause}", "~{memory}"()
  %gate.spin = load atomic i64, ptr @gate acquire, align 8
  %inside.spin = and i64 %gate.spin, 65535
  %empty.spin = icmp eq i64 %inside.spin, 0
  br i1 %empty.spin, label %return, label %check_clock
check_clock:
  %time = call i64 @now()
  %late = icmp sgt i64 %time, %deadline
  br i1 %late, label %sleep, label %spin
sleep:
  call i32 @pthread_mutex_lock(ptr @mutex)
  store atomic i64 1, ptr @launcher_sleeps seq_cst, align 8
  br label %look
look:
  %gate.sleep = load atomic i64, ptr @gate seq_cst, align 8
  %inside.sleep = and i64 %gate.sleep, 65535
  %empty.sleep = icmp eq i64 %inside.sleep, 0
  br i1 %empty.sleep, label %rise, label %doze
doze:
  call i32 @pthread_cond_wait(ptr @done, ptr @mutex)
  br label %look
rise:
  store atomic i64 0, ptr @launcher_sleeps seq_cst, align 8
  call i32 @pthread_mutex_unlock(ptr @mutex)
  br label %return
return:
  ret void
}

; ------------------------------------------------------------------------------------------------ everyone

; The first iteration of a slice; the first slices have one more than the last if n does not divide.
define internal i64 @slice_begin(i64 %n, i64 %slices, i64 %slice) {
  %least = udiv i64 %n, %slices
  %extra = urem i64 %n, %slices
  %before = mul i64 %slice, %least
  %more = call i64 @llvm.umin.i64(i64 %slice, i64 %extra)
  %begin = add i64 %before, %more
  ret i64 %begin
}

; Takes chunks of the job and runs them until none is left. A chunk is a quarter of what is left of a slice, at least 1.
define internal void @work(i64 %thread) {
  %fn = load ptr, ptr @job_fn
  %ctx = load ptr, ptr @job_ctx
  %n = load i64, ptr @job_n
  %slices = load i64, ptr @job_slices
  %own = urem i64 %thread, %slices
  br label %slice
slice:
  %number = phi i64 [ 0, %0 ], [ %number.next, %done ]
  %shifted = add i64 %own, %number
  %this = urem i64 %shifted, %slices
  %after = add i64 %this, 1
  %stop = call i64 @slice_begin(i64 %n, i64 %slices, i64 %after)
  %counter = getelementptr [16 x i64], ptr @next, i64 %this
  br label %take
take:
  %begin = load atomic i64, ptr %counter monotonic, align 8
  %left = sub i64 %stop, %begin
  %some = icmp sgt i64 %left, 0
  br i1 %some, label %claim, label %done
claim:
  %part = udiv i64 %left, 4
  %chunk = call i64 @llvm.umax.i64(i64 %part, i64 1)
  %end = add i64 %begin, %chunk
  %result = cmpxchg ptr %counter, i64 %begin, i64 %end monotonic monotonic
  %taken = extractvalue { i64, i1 } %result, 1
  br i1 %taken, label %run, label %take
run:
  call void %fn(ptr %ctx, i64 %begin, i64 %end, i64 %thread)
  br label %take
done:
  %number.next = add i64 %number, 1
  %again = icmp slt i64 %number.next, %slices
  br i1 %again, label %slice, label %return
return:
  ret void
}

; Nanoseconds of the monotonic clock.
define internal i64 @now() {
  %timespec = alloca { i64, i64 }
  call i32 @clock_gettime(i32 ${monotonic}, ptr %timespec)
  %seconds = load i64, ptr %timespec
  %rest.ptr = getelementptr { i64, i64 }, ptr %timespec, i64 0, i32 1
  %rest = load i64, ptr %rest.ptr
  %scaled = mul i64 %seconds, 1000000000
  %sum = add i64 %scaled, %rest
  ret i64 %sum
}

; ------------------------------------------------------------------------------------------------ worker

; Whether a worker that last helped in generation `seen` may enter.
define internal i1 @may_enter(i64 %gate, i64 %seen) {
  %generation = lshr i64 %gate, 32
  %fresh = icmp ne i64 %generation, %seen
  %tickets = and i64 %gate, 4294901760
  %open = icmp ne i64 %tickets, 0
  %both = and i1 %fresh, %open
  ret i1 %both
}

; The life of a worker. Its argument is its number, 1 .. threads - 1, and stays its value of @thread_key.
define internal ptr @worker(ptr %number) {
  %key = load i64, ptr @thread_key
  call i32 @pthread_setspecific(i64 %key, ptr %number)
  %thread = ptrtoint ptr %number to i64
  br label %idle
idle:
  %seen = phi i64 [ 0, %0 ], [ %generation, %leave ], [ %generation, %tell ], [ %seen, %rise ]
  %start = call i64 @now()
  %deadline = add i64 %start, 30000
  br label %spin
spin:
  %gate = load atomic i64, ptr @gate acquire, align 8
  %may = call i1 @may_enter(i64 %gate, i64 %seen)
  br i1 %may, label %enter, label %pause
pause:
  call void asm sideeffect "${pause}", "~{memory}"()
  %time = call i64 @now()
  %late = icmp sgt i64 %time, %deadline
  br i1 %late, label %sleep, label %spin

enter: ; one ticket less, one worker inside more
  %inside = sub i64 %gate, 65535
  %result = cmpxchg ptr @gate, i64 %gate, i64 %inside acq_rel monotonic
  %entered = extractvalue { i64, i1 } %result, 1
  br i1 %entered, label %help, label %spin
help:
  %generation = lshr i64 %gate, 32
  call void @work(i64 %thread)
  br label %leave
leave:
  %before = atomicrmw sub ptr @gate, i64 1 seq_cst
  %low = and i64 %before, 4294967295
  %last = icmp eq i64 %low, 1 ; nobody else inside and no ticket left
  %waiting = load atomic i64, ptr @launcher_sleeps seq_cst, align 8
  %asleep = icmp ne i64 %waiting, 0
  %must_tell = and i1 %last, %asleep
  br i1 %must_tell, label %tell, label %idle
tell:
  call i32 @pthread_mutex_lock(ptr @mutex)
  call i32 @pthread_mutex_unlock(ptr @mutex)
  call i32 @pthread_cond_signal(ptr @done)
  br label %idle

sleep:
  call i32 @pthread_mutex_lock(ptr @mutex)
  %more = atomicrmw add ptr @sleepers, i64 1 seq_cst
  br label %look
look:
  %gate.sleep = load atomic i64, ptr @gate seq_cst, align 8
  %may.sleep = call i1 @may_enter(i64 %gate.sleep, i64 %seen)
  br i1 %may.sleep, label %rise, label %doze
doze:
  call i32 @pthread_cond_wait(ptr @wake, ptr @mutex)
  br label %look
rise:
  %fewer = atomicrmw sub ptr @sleepers, i64 1 seq_cst
  call i32 @pthread_mutex_unlock(ptr @mutex)
  br label %idle
}

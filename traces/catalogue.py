"""Every event slubloom can record, as data: the kernel's own tracepoints and ours.

The kernel's systems keep the names, fields and C types of TP_STRUCT__entry in include/trace/events/*.h (6.1.192): what
is in the ring buffer, not what the text prints.  An event's id is its position here, from 1; a trace carries this table
in its header, so events may be added anywhere without making an old trace unreadable.

Unlike there, array fields are left out (`rcu_segcb_stats` loses gp_seq[] and seglen[], which have one entry per
callback segment), and `ipi_raise` carries its CPU mask as text of any length (the kernel's hexadecimal words).

One event is one declaration, `name: ctype field, ctype field`; a declaration may continue on an indented line.
"""

from .event import EventSpec

_KERNEL_EVENTS = {
    "kmem": """
        kmem_cache_alloc: unsigned long call_site, const void * ptr, size_t bytes_req, size_t bytes_alloc,
            unsigned long gfp_flags, int node, bool accounted
        kmalloc: unsigned long call_site, const void * ptr, size_t bytes_req, size_t bytes_alloc,
            unsigned long gfp_flags, int node
        kfree: unsigned long call_site, const void * ptr
        kmem_cache_free: unsigned long call_site, const void * ptr, string name
        mm_page_free: unsigned long pfn, unsigned int order
        mm_page_free_batched: unsigned long pfn
        mm_page_alloc: unsigned long pfn, unsigned int order, unsigned long gfp_flags, int migratetype
        mm_page_alloc_zone_locked: unsigned long pfn, unsigned int order, int migratetype, int percpu_refill
        mm_page_pcpu_drain: unsigned long pfn, unsigned int order, int migratetype
        mm_page_alloc_extfrag: unsigned long pfn, int alloc_order, int fallback_order, int alloc_migratetype,
            int fallback_migratetype, int change_ownership
        rss_stat: unsigned int mm_id, unsigned int curr, int member, long size
    """,
    "rcu": """
        rcu_utilization: const char * s
        rcu_grace_period: const char * rcuname, long gp_seq, const char * gpevent
        rcu_future_grace_period: const char * rcuname, long gp_seq, long gp_seq_req, u8 level, int grplo, int grphi,
            const char * gpevent
        rcu_grace_period_init: const char * rcuname, long gp_seq, u8 level, int grplo, int grphi, unsigned long qsmask
        rcu_exp_grace_period: const char * rcuname, long gpseq, const char * gpevent
        rcu_exp_funnel_lock: const char * rcuname, u8 level, int grplo, int grphi, const char * gpevent
        rcu_nocb_wake: const char * rcuname, int cpu, const char * reason
        rcu_preempt_task: const char * rcuname, long gp_seq, int pid
        rcu_unlock_preempted_task: const char * rcuname, long gp_seq, int pid
        rcu_quiescent_state_report: const char * rcuname, long gp_seq, unsigned long mask, unsigned long qsmask,
            u8 level, int grplo, int grphi, u8 gp_tasks
        rcu_fqs: const char * rcuname, long gp_seq, int cpu, const char * qsevent
        rcu_stall_warning: const char * rcuname, const char * msg
        rcu_dyntick: const char * polarity, long oldnesting, long newnesting, int dynticks
        rcu_callback: const char * rcuname, void * rhp, void * func, long qlen
        rcu_segcb_stats: const char * ctx
        rcu_kvfree_callback: const char * rcuname, void * rhp, unsigned long offset, long qlen
        rcu_batch_start: const char * rcuname, long qlen, long blimit
        rcu_invoke_callback: const char * rcuname, void * rhp, void * func
        rcu_invoke_kvfree_callback: const char * rcuname, void * rhp, unsigned long offset
        rcu_invoke_kfree_bulk_callback: const char * rcuname, unsigned long nr_records, void ** p
        rcu_batch_end: const char * rcuname, int callbacks_invoked, char cb, char nr, char iit, char risk
        rcu_torture_read: char[RCUTORTURENAME_LEN] rcutorturename, struct rcu_head * rhp, unsigned long secs,
            unsigned long c_old, unsigned long c
        rcu_barrier: const char * rcuname, const char * s, int cpu, int cnt, unsigned long done
    """,
    "workqueue": """
        workqueue_queue_work: void * work, void * function, string workqueue, int req_cpu, int cpu
        workqueue_activate_work: void * work
        workqueue_execute_start: void * work, void * function
        workqueue_execute_end: void * work, void * function
    """,
    "cpuhp": """
        cpuhp_enter: unsigned int cpu, int target, int idx, void * fun
        cpuhp_multi_enter: unsigned int cpu, int target, int idx, void * fun
        cpuhp_exit: unsigned int cpu, int state, int idx, int ret
    """,
    "lock": """
        lock_acquire: unsigned int flags, string name, void * lockdep_addr
        lock_release: string name, void * lockdep_addr
        lock_contended: string name, void * lockdep_addr
        lock_acquired: string name, void * lockdep_addr
        contention_begin: void * lock_addr, unsigned int flags
        contention_end: void * lock_addr, int ret
    """,
    "vmscan": """
        mm_vmscan_wakeup_kswapd: int nid, int zid, int order, unsigned long gfp_flags
        mm_shrink_slab_start: struct shrinker * shr, void * shrink, int nid, long nr_objects_to_shrink,
            unsigned long gfp_flags, unsigned long cache_items, unsigned long long delta, unsigned long total_scan,
            int priority
        mm_shrink_slab_end: struct shrinker * shr, int nid, void * shrink, long unused_scan, long new_scan, int retval,
            long total_scan
    """,
    "sched": """
        sched_waking: char[TASK_COMM_LEN] comm, pid_t pid, int prio, int target_cpu
        sched_wakeup: char[TASK_COMM_LEN] comm, pid_t pid, int prio, int target_cpu
        sched_wakeup_new: char[TASK_COMM_LEN] comm, pid_t pid, int prio, int target_cpu
        sched_switch: char[TASK_COMM_LEN] prev_comm, pid_t prev_pid, int prev_prio, long prev_state,
            char[TASK_COMM_LEN] next_comm, pid_t next_pid, int next_prio
        sched_migrate_task: char[TASK_COMM_LEN] comm, pid_t pid, int prio, int orig_cpu, int dest_cpu
        sched_process_exit: char[TASK_COMM_LEN] comm, pid_t pid, int prio
        sched_process_hang: char[TASK_COMM_LEN] comm, pid_t pid
    """,
    "ipi": """
        ipi_raise: bitmask target_cpus, const char * reason
        ipi_entry: const char * reason
        ipi_exit: const char * reason
    """,
    "percpu": """
        percpu_alloc_percpu: unsigned long call_site, bool reserved, bool is_atomic, size_t size, size_t align,
            void * base_addr, int off, void __percpu * ptr, size_t bytes_alloc, unsigned long gfp_flags
        percpu_free_percpu: void * base_addr, int off, void __percpu * ptr
        percpu_alloc_percpu_fail: bool reserved, bool is_atomic, size_t size, size_t align
        percpu_create_chunk: void * base_addr
        percpu_destroy_chunk: void * base_addr
    """,
}

_SLUBLOOM_EVENTS = {
    # The society of actors: who told whom what.  `sequence` pairs a sending with its receipt.
    "actor": """
        message_send: string sender, string receiver, string message, int sequence
        message_receive: string receiver, string sender, string message, int sequence
        actor_start: string actor
        actor_end: string actor
    """,
    # The life of a kmem_cache and its slabs, which the kernel's kmem events do not show.
    "slab": """
        kmem_cache_create: string name, void * ptr, unsigned int object_size, unsigned int size, unsigned int align,
            unsigned long flags, unsigned int order, unsigned int objects
        kmem_cache_shutdown: string name, void * ptr
        kmem_cache_destroy: string name, void * ptr
        sysfs_slab_unlink: string name
        kmem_cache_node_alloc: string name, int node, void * ptr
        kmem_cache_node_free: string name, int node, void * ptr
        slab_new: string name, unsigned long pfn, unsigned int order, unsigned int objects, int node
        slab_discard: string name, unsigned long pfn, unsigned int order, int node
        slab_deactivate: string name, unsigned long pfn, int node, unsigned int inuse
        cpu_slab_flush: string name, int cpu
    """,
    # Memory hotplug: the notifier chain, its callbacks in calling order, and what they make true.
    "memory": """
        memory_notify: string action, int nid, int nid_normal, long nr_pages
        notifier_call: string callback, int priority, string action, int ret
        node_state: string state, int nid, int value
    """,
    # The kernel's irq events, with the fields an emulated interrupt has.
    "irq": """
        irq_handler_entry: int irq, string name
        irq_handler_exit: int irq, int ret
        softirq_entry: unsigned int vec
        softirq_exit: unsigned int vec
        softirq_raise: unsigned int vec
        softirq_disable: int depth
        softirq_enable: int depth
    """,
    # A program goes back to user space, holding no lock of its own; `ret` is what the call has returned.
    "raw_syscalls": """
        sys_exit: long ret
    """,
    # A function is called that may sleep, whether it has to or not (``might_sleep()``), other than taking a lock; and a
    # kernel thread that had nothing to do has been woken.
    "sched": """
        might_sleep: string function
        kthread_woken: pid_t pid
    """,
    # Interrupts switched off and on, at interrupt level 0 (a thread), 1 (soft) or 2 (hard); and each time a thread
    # keeps its processor otherwise than by a lock or as a reader, with how many reasons it has then.
    "preemptirq": """
        irq_disable: int level
        irq_enable: int level
        preempt_disable: int depth
        preempt_enable: int depth
    """,
    # Completions, one episode after the other: made, waited for, completed, the waiter goes on.
    "completion": """
        completion_init: string name, void * completion
        completion_wait: string name, void * completion
        completion_complete: string name, void * completion
        completion_done: string name, void * completion
    """,
    # A new lock class and what its holders may wait for (outer:inner); and which lock, taken before, protects that the
    # next one is of a class that is held already.
    "lock": """
        lock_class: string name, string wait_type
        lock_nest: string name, void * lockdep_addr
    """,
    # What keeps structures alive: pointers to them that were loaded and used, references, and readers by flavour.
    "pointer": """
        pointer_load: void * object
        pointer_use: void * object, string type, string field, string kept_by
        structure_free: void * object, string type, size_t size
        reference_get: void * object, int references
        reference_put: void * object, int references
        reader_enter: string flavour
        reader_leave: string flavour
    """,
    # What the sanitizers found.
    "violation": """
        violation_report: string kind, string title
    """,
}


def parse_events(system: str, declarations: str) -> tuple[EventSpec, ...]:
    """Read declarations, one `name: ctype field, …` each, as events of `system`.

    Raises:
        ValueError: a line that is neither a declaration nor the continuation of one ending in a comma.
    """
    joined = declarations.replace(",\n", ",")
    return tuple(_parse_event(system, line.strip()) for line in joined.splitlines() if line.strip())


def _parse_event(system: str, line: str) -> EventSpec:
    name, colon, declared = line.partition(":")
    if not colon or not name.isidentifier():
        raise ValueError(f"expected `name: ctype field, …` in system {system}, found {line!r}")
    fields = []
    for field in declared.split(","):
        ctype, _, field_name = field.strip().rpartition(" ")
        if not ctype or not field_name.isidentifier():
            raise ValueError(f"expected `ctype field` in {system}:{name}, found {field.strip()!r}")
        fields.append((field_name, " ".join(ctype.split())))
    return EventSpec(system, name, tuple(fields))


CATALOGUE: tuple[EventSpec, ...] = tuple(
    spec
    for table in (_KERNEL_EVENTS, _SLUBLOOM_EVENTS)
    for system, declarations in table.items()
    for spec in parse_events(system, declarations)
)
"""All events in id order: `CATALOGUE[n]` has id `n + 1`."""

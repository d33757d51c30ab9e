//! Which thread runs where several want one core: those that serve requests before all others.

/// Lets the calling thread give way to the threads that serve requests: where both want a core, it gets a tenth (`nice` 10). For threads that
/// compile, and those of a control plane. Threads that it starts do the same.
pub fn give_way() {
    // elsewhere it would be the whole process that gives way
    #[cfg(target_os = "linux")]
    if let Err(error) = rustix::process::setpriority_process(Some(rustix::thread::gettid()), 10) {
        tracing::debug!(%error, "a thread does not give way to requests");
    }
}

/// Lets the calling thread run as soon as it has something to do. For threads that serve requests: what they do is short, and waiting for the slice of
/// another thread to end, 3 ms of it, takes many times as long. It gets no more of a core than it would otherwise.
#[cfg_attr(
    target_os = "linux",
    expect(unsafe_code, reason = "two system calls that no library has")
)]
pub fn go_first() {
    // Linux since 6.12 preempts threads with longer slices for those with shorter ones (sched(7), sched_setattr(2)); older ones ignore it
    #[cfg(target_os = "linux")]
    {
        const SLICE_NS: u64 = 100_000;
        const SIZE: u32 = size_of::<libc::sched_attr>() as u32;
        // SAFETY: all zeros is a valid value, and the kernel writes at most `SIZE` bytes.
        let (mut attributes, status) = unsafe {
            let mut attributes = std::mem::zeroed::<libc::sched_attr>();
            let status = libc::syscall(libc::SYS_sched_getattr, 0, &raw mut attributes, SIZE, 0);
            (attributes, status)
        };
        attributes.sched_runtime = SLICE_NS;
        // SAFETY: the kernel reads `SIZE` bytes.
        if status != 0 || unsafe { libc::syscall(libc::SYS_sched_setattr, 0, &raw const attributes, 0) } != 0
        {
            let error = std::io::Error::last_os_error();
            tracing::debug!(%error, "a thread waits for the slices of others");
        }
    }
}

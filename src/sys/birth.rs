//! A child that is its parent's sibling, born where the parent itself is not, and of which only outsiders learn the number.

use std::io;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicI32, Ordering};

use super::process::{Forked, check};

/// A number in memory that a process shares with its parent and not with the child that it has: the kernel writes the
/// child's pid there before the child runs (CLONE_PARENT_SETTID). No message is needed that the child could forge.
#[derive(Debug)]
pub struct Birth(NonNull<AtomicI32>);

// SAFETY: it owns its mapping, and what is in there is atomic.
unsafe impl Send for Birth {}

impl Birth {
    /// Maps the number; what is forked now shares it.
    pub fn new() -> io::Result<Birth> {
        // SAFETY: a new mapping of our own at a place that the kernel chooses, which holds zeros.
        let place = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                std::mem::size_of::<AtomicI32>(),
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED | libc::MAP_ANONYMOUS,
                -1,
                0,
            )
        };
        if place == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        NonNull::new(place.cast()).map(Birth).ok_or_else(|| io::ErrorKind::OutOfMemory.into())
    }

    /// Returns the child's pid, as the process that called [`Birth::bear`] sees it; `None` before its birth.
    pub fn child(&self) -> Option<i32> {
        // SAFETY: the mapping lives as long as `self`, and all who share it use it as an atomic, the kernel included.
        let number = unsafe { self.0.as_ref() }.load(Ordering::Acquire);
        (number != 0).then_some(number)
    }

    /// Has a child whose parent is the caller's own, with no namespace but what is set for children (setns(2)).
    ///
    /// clone(2) and not clone3(2), for a filter may be around us: `key` is in the register of the sixth argument, where
    /// the kernel looks at nothing and a filter may. The caller must have one thread; the child should end in exec or exit
    /// and must not touch, nor drop, this value.
    pub fn bear(&self, key: u64) -> io::Result<Forked> {
        let place = self.0.as_ptr();
        // SAFETY: the range is our mapping, to the end of its page; DONTFORK changes nothing of it in this process.
        let hidden =
            unsafe { libc::madvise(place.cast(), std::mem::size_of::<AtomicI32>(), libc::MADV_DONTFORK) };
        check(hidden.into())?;
        let flags = libc::CLONE_PARENT | libc::CLONE_PARENT_SETTID;
        // SAFETY: stack 0 without CLONE_VM makes the child go on with a copy of this stack, as after fork; the kernel writes
        // one number to the mapping above. The two arguments whose order differs between machines are both 0.
        match check(unsafe { libc::syscall(libc::SYS_clone, i64::from(flags), 0, place, 0, 0, key) })? {
            0 => Ok(Forked::Child),
            pid => Ok(Forked::Parent(pid as i32)),
        }
    }
}

impl Drop for Birth {
    fn drop(&mut self) {
        // SAFETY: our own mapping, which nobody refers to any more.
        unsafe { libc::munmap(self.0.as_ptr().cast(), std::mem::size_of::<AtomicI32>()) };
    }
}

/// Makes a session (setsid(2)), with `key` where [`Birth::bear`] has it.
pub fn new_session(key: u64) -> io::Result<()> {
    // SAFETY: setsid takes nothing; the arguments are numbers in registers that the kernel does not read.
    check(unsafe { libc::syscall(libc::SYS_setsid, 0, 0, 0, 0, 0, key) }).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_none_until_it_is_there() {
        let birth = Birth::new().expect("memory");
        assert_eq!(birth.child(), None);
        // SAFETY: the mapping lives here.
        unsafe { birth.0.as_ref() }.store(7, Ordering::Release);
        assert_eq!(birth.child(), Some(7));
    }
}

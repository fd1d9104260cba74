//! Memory that is given back empty: the allocator of this program.
//!
//! What the keeper forks is a copy of it, and stays one until it becomes its program; with `init: true` the first process of
//! a container stays one for good. A container with CAP_SYS_PTRACE may read all of that. So the keeper has nothing on
//! its heap that it does not need any more: what it was told of other containers, with their environments and secrets.
//! Stacks are not wiped, and all other processes of ours give memory back as it is.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicBool, Ordering};

#[global_allocator]
static ALLOCATOR: Wiping = Wiping;

static WIPES: AtomicBool = AtomicBool::new(false);

/// Says whether memory is overwritten when it is given back. A process that is forked goes on as this one.
pub fn wipe_freed_memory(wipes: bool) {
    WIPES.store(wipes, Ordering::Relaxed);
}

struct Wiping;

// SAFETY: every call goes on to the system's allocator with what it was given, or is made of such calls.
unsafe impl GlobalAlloc for Wiping {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller keeps the promises of this function, which are those of the one that is called.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller promises a layout whose size is not zero, which is all that is asked for there.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        if WIPES.load(Ordering::Relaxed) {
            // SAFETY: the block is the caller's, of this size, and nobody reads it any more. A plain write before a free
            // would be left out by the compiler; explicit_bzero(3) is not.
            unsafe { libc::explicit_bzero(block.cast(), layout.size()) };
        }
        // SAFETY: the caller promises that the block came from here, thus from the system's, with this layout.
        unsafe { System.dealloc(block, layout) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        if !WIPES.load(Ordering::Relaxed) {
            // SAFETY: the caller promises that the block came from here, thus from the system's, with this layout, and
            // that the size is not zero.
            return unsafe { System.realloc(block, layout, size) };
        }
        // By hand: the system's may move a block and leave the old one as it is.
        // SAFETY: the caller promises that this size, rounded up to the alignment, is one that a layout may have.
        let wanted = unsafe { Layout::from_size_align_unchecked(size, layout.align()) };
        // SAFETY: the size is not zero, as the caller promises.
        let other = unsafe { self.alloc(wanted) };
        if !other.is_null() {
            // SAFETY: both blocks are at least as long as the shorter, and the new one overlaps no other.
            unsafe { std::ptr::copy_nonoverlapping(block, other, layout.size().min(size)) };
            // SAFETY: the caller gives the block up when what is returned is not null.
            unsafe { self.dealloc(block, layout) };
        }
        other
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::os::unix::fs::FileExt;

    use super::*;

    /// What is looked for, and where in a block: the allocator keeps its own words at the beginning of one that is free.
    const MARK: &[u8; 8] = b"the-mark";
    const OFFSET: usize = 64;

    fn marked() -> Vec<u8> {
        let mut block = vec![0; 256];
        block[OFFSET..OFFSET + MARK.len()].copy_from_slice(MARK);
        block
    }

    /// Gives blocks back, every second one of many, with `give`, and counts those that can be found where they were.
    fn found_after(give: impl Fn(&mut Vec<u8>)) -> usize {
        let own = File::open("/proc/self/mem").expect("our own");
        let mut blocks: Vec<Vec<u8>> = (0..128).map(|_| marked()).collect();
        let places: Vec<usize> = blocks.iter().step_by(2).map(|block| block.as_ptr() as usize).collect();
        blocks.iter_mut().step_by(2).for_each(give);
        let mut found = [0; MARK.len()];
        let is_found = |place: &&usize| {
            // What is no longer mapped holds nothing.
            own.read_exact_at(&mut found, (**place + OFFSET) as u64).is_ok() && &found == MARK
        };
        places.iter().filter(is_found).count()
    }

    #[test]
    fn a_block_is_empty_when_it_is_given_back_and_whole_when_it_grows() {
        let drop = |block: &mut Vec<u8>| *block = Vec::new();
        // Grown by so much that none can stay where it is.
        let grow = |block: &mut Vec<u8>| {
            block.reserve_exact(64 << 10);
            assert_eq!(*block, marked());
        };
        // The control: what is not wiped is found, so the eye of this test sees.
        wipe_freed_memory(false);
        assert_ne!(found_after(drop), 0);
        assert_ne!(found_after(grow), 0);
        wipe_freed_memory(true);
        let found = [found_after(drop), found_after(grow)];
        let mut shrunk = marked();
        shrunk.reserve_exact(1 << 20);
        shrunk.shrink_to_fit();
        wipe_freed_memory(false);
        assert_eq!(found, [0, 0]);
        assert_eq!(shrunk, marked());
    }
}

//! Memory that is given back empty: the allocator of this program.
//!
//! What the keeper forks is a copy of it, and stays one until it becomes its program; with `init: true` the first process of
//! a container stays one for good. A container with CAP_SYS_PTRACE may read all of that. So the keeper has nothing in its
//! memory that it does not need any more: what it was told of other containers, with their environments and secrets. All
//! other processes of ours give memory back as it is.

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
        // SAFETY: as above.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        if WIPES.load(Ordering::Relaxed) {
            // SAFETY: the block is the caller's, of this size, and nobody reads it any more. A plain write before a free
            // would be left out by the compiler; explicit_bzero(3) is not.
            unsafe { libc::explicit_bzero(block.cast(), layout.size()) };
        }
        // SAFETY: as above.
        unsafe { System.dealloc(block, layout) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        if !WIPES.load(Ordering::Relaxed) {
            // SAFETY: as above.
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
    use super::*;

    #[test]
    fn a_block_is_empty_when_it_is_given_back_and_whole_when_it_grows() {
        let mark = |number: usize| format!("mark-{number}").into_bytes();
        wipe_freed_memory(true);
        let mut grown = mark(7);
        grown.reserve_exact(1 << 20);
        grown.shrink_to(100);
        assert_eq!(grown, mark(7));
        // Of blocks that are given back none is found with what was in it. Where they were others may have something by now.
        let blocks: Vec<Vec<u8>> = (0..64).map(mark).collect();
        let places: Vec<usize> = blocks.iter().map(|block| block.as_ptr() as usize).collect();
        drop(blocks);
        let own = std::fs::File::open("/proc/self/mem").expect("our own");
        for (number, place) in places.into_iter().enumerate() {
            let mut found = [0; 5];
            std::os::unix::fs::FileExt::read_exact_at(&own, &mut found, place as u64).expect("mapped");
            assert_ne!(&found, b"mark-", "{number}");
        }
        wipe_freed_memory(false);
    }
}

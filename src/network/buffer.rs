//! One buffer a thread for everything that passes through: thousands of connections that are idle hold none.

use std::cell::RefCell;

/// What the buffer holds: the largest datagram.
pub const SIZE: usize = 64 << 10;

/// Lends the thread's buffer; not to be nested.
pub fn with_buffer<T>(work: impl FnOnce(&mut [u8]) -> T) -> T {
    thread_local! {
        static BUFFER: RefCell<Vec<u8>> = RefCell::new(vec![0; SIZE]);
    }
    BUFFER.with_borrow_mut(|buffer| work(buffer))
}

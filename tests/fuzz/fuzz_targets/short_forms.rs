//! Texts with a syntax of their own: ports, volumes, devices, commands, durations, sizes.

#![no_main]

use libfuzzer_sys::fuzz_target;
use rcompose::compose::model::{ByteSize, Duration};
use rcompose::compose::short;

fuzz_target!(|text: &str| {
    if let Ok(ports) = short::ports(text) {
        assert!(!ports.is_empty() && ports.len() <= 1 << 16);
    }
    if let Ok(mount) = short::mount(text) {
        assert!(!mount.target.is_empty());
    }
    let _ = short::device(text);
    let _ = short::words(text);
    if let Ok(duration) = Duration::parse(text) {
        assert_eq!(Duration::parse(&duration.to_string()), Ok(duration));
    }
    if let Ok(size) = ByteSize::parse(text) {
        assert_eq!(ByteSize::parse(&size.to_string()), Ok(size));
    }
});

//! The one loop that owns a running project: requests, exits, timers and probes in; steps done and events out.

pub mod health;
pub mod lifecycle;
pub mod logs;
pub mod observe;
pub mod state;

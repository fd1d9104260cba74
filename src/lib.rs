//! rcompose runs Compose files with no daemon, no root and no other program to install.

pub mod api;
pub mod cli;
pub mod compose;
pub mod engine;
pub mod event;
pub mod host;
pub mod image;
pub mod keeper;
pub mod network;
pub mod ops;
pub mod plan;
pub mod progress;
pub mod report;
pub mod runtime;
pub mod supervisor;
pub mod sys;
pub mod ui;
pub mod volume;

//! The integration tests, one binary. They need no internet, no root and no order; what a test needs of the host and
//! does not find is named, and the test is passed over.

mod support;

mod attach;
mod attack;
mod borders;
mod build;
mod chaos;
mod check;
mod completion;
mod config;
mod corpus;
mod cp;
mod damage;
mod errors;
mod examples;
mod exec;
mod hooks;
mod image_kill;
mod images;
mod kill;
mod layers;
mod limits;
mod logs;
mod networks;
mod places;
mod pull;
mod readme;
mod rejoin;
mod rmi;
mod up;
mod volumes;

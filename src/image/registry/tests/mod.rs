mod pull;
mod push;
mod server;

use super::*;

//! What several parts of the logs do together.

mod damage;

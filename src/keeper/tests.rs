//! Real containers, under a real keeper.

use super::testing::Keeper;

#[test]
fn a_container_on_the_hosts_own_programs_prints_and_ends() {
    let Some(mut keeper) = Keeper::start_new() else { return };
    let spec = keeper.spec("hello", "echo hello from $$ on $(hostname); echo oops >&2; exit 7");
    assert_eq!(keeper.run(&spec), ("hello from 1 on box\noops\n".into(), 7));
}

//! Any wish after any other, on a host where anything may have stopped: the steps can be performed in every order that
//! the plan allows, and afterwards nothing is left to do.

use proptest::prelude::*;
use proptest::test_runner::RngSeed;

use super::*;

const NAMES: [&str; 5] = ["a", "b", "c", "d", "e"];

/// A service that needs only those before it.
fn service(index: usize) -> impl Strategy<Value = String> {
    let other = move || proptest::option::weighted(0.4, 0..index.max(1));
    let parts = (0..3u32, 1..3u32, 0..2u32, other(), other(), other(), 0..4usize, 0..3usize, any::<bool>());
    parts.prop_map(move |(scale, image, env, needs, joins, from, way, net, health)| {
        let mut line = format!("{} i:{image} x{scale} env={env}", NAMES[index]);
        if health {
            line += " health";
        }
        if index > 0 {
            if let Some(needs) = needs {
                let condition = [":started", ":healthy", ":healthy+restart", ":started?"][way];
                line += &format!(" needs={}{condition}", NAMES[needs]);
            }
            if let Some(joins) = joins {
                line += &format!(" {}={}", ["join", "pid", "ipc", "join"][way], NAMES[joins]);
            }
            if let Some(from) = from {
                line += &format!(" from={}", NAMES[from]);
            }
        }
        if net > 0 {
            line += &format!(" on=net{net} vol=data{net}");
        }
        line
    })
}

fn scene() -> impl Strategy<Value = String> {
    let services = (service(0), service(1), service(2), service(3), service(4));
    let rest = (1..6usize, 1..3u32, 1..3u32);
    (services, rest).prop_map(|((a, b, c, d, e), (count, one, two))| {
        let lines = [a, b, c, d, e];
        format!("{}\nnet net1 {one}\nnet net2 {two}", lines[..count].join("\n"))
    })
}

/// Stops, forgets or half removes containers and lets networks die.
fn harm(present: &mut super::super::observed::Observed, harms: &[u8]) {
    let stopped = State::Exited { code: Some(1), since_ns: 0, oom: false, error: None };
    for (container, harm) in present.containers.iter_mut().zip(harms) {
        match harm {
            0 => container.state = stopped.clone(),
            1 => container.state = State::Created,
            2 => container.state = State::Removing,
            _ => {}
        }
    }
    if harms.first() == Some(&3) {
        present.networks.values_mut().for_each(|network| network.alive = false);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, rng_seed: RngSeed::Fixed(1), ..ProptestConfig::with_cases(1500) })]

    #[test]
    fn every_order_works_and_leaves_nothing_to_do(
        before in scene(),
        after in scene(),
        harms in proptest::collection::vec(0..9u8, 8),
        seed in any::<u64>(),
        named in proptest::option::weighted(0.3, 0..3usize),
        never in proptest::bool::weighted(0.15),
    ) {
        // A wish that is refused has no plan; the refusals have tests of their own.
        let Ok(first) = reconcile(&wish(&before), &host(""), &Options::default()) else { return Ok(()) };
        let mut present = perform(&wish(&before), &host(""), &first, seed);
        harm(&mut present, &harms);
        // Kept containers of another wish may use others by namespace or by volume; a record does not say which.
        let wish = wish(if never { &before } else { &after });
        let options = Options {
            services: named.map(|index| NAMES[index].to_owned()).into_iter().collect(),
            recreate: if never { Recreate::Never } else { Recreate::Changed },
            remove_orphans: true,
            ..Options::default()
        };
        let Ok(plan) = reconcile(&wish, &present, &options) else { return Ok(()) };
        let result = perform(&wish, &present, &plan, seed);
        let second = reconcile(&wish, &result, &options).expect("what was planned can be planned again");
        prop_assert!(second.is_empty(), "first\n{plan}\nleft to do\n{second}");
    }
}

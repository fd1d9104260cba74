//! The entries of a mapping → the mapping: no key twice, and what merge keys (`<<`) bring.

use std::collections::HashMap;

use super::super::budget::weight_of;
use super::super::diagnostic::{Fault, Problem};
use super::super::node::{Map, Node, Span, Value};
use super::super::trace::{Rule, Trace};
use super::builder::{Entry, Marked};
use super::marks::{Reset, prefix};

/// What a mapping has gathered beside its entries.
pub struct Inner {
    /// The marked values below.
    pub resets: Vec<Reset>,
    /// What it costs.
    pub size: usize,
}

/// Makes a mapping of its entries: refuses keys that stand twice, then fills in what `<<` brings.
pub fn mapping(
    entries: Vec<Entry>,
    trace: &mut Trace,
    problems: &mut Vec<Problem>,
) -> Result<(Map, Inner), Fault> {
    let mut seen: HashMap<String, Span> = HashMap::with_capacity(entries.len());
    for (name, at, ..) in &entries {
        if let Some(first) = seen.insert(name.clone(), *at) {
            problems.push(
                Problem::at(*at, format!("mapping key `{name}` is already defined at line {}", first.line))
                    .also(first, "first defined here")
                    .hint("remove one of them, or make one value of both"),
            );
        }
    }
    let mut map = Map::with_capacity(entries.len());
    let mut inner = Inner { resets: Vec::new(), size: 0 };
    let mut merged: Vec<(Span, Marked)> = Vec::new();
    for (name, at, merges, mut value) in entries {
        inner.size += weight_of(&name) + value.size;
        if merges {
            merged.push((at, value));
            continue;
        }
        prefix(&mut inner.resets, &name, false, value.resets);
        value.node.key = at;
        if value.node.is_null() {
            // Nothing has no place of its own.
            value.node.at = at;
        }
        map.insert(name, value.node);
    }
    for (at, bag) in merged {
        merge_in(&mut map, &mut inner, at, bag, trace)?;
    }
    Ok((map, inner))
}

/// Fills in the entries of a `<<` value that the mapping does not have; of several, the first wins.
fn merge_in(map: &mut Map, inner: &mut Inner, at: Span, bag: Marked, trace: &mut Trace) -> Result<(), Fault> {
    let refuse = |node: &Node| {
        Err(Box::new(
            Problem::at(at, format!("`<<` takes a mapping or a list of mappings, not {}", node.kind()))
                .hint("write `<<: *anchor`"),
        ))
    };
    let mut resets = bag.resets;
    match bag.node.value {
        Value::Map(entries) => {
            for (name, node) in entries {
                if let Some(stands) = map.get(&name) {
                    trace.beaten(&"", stands.at, &node, Rule::MergeKey);
                    continue;
                }
                let (own, rest): (Vec<_>, Vec<_>) =
                    resets.into_iter().partition(|reset| reset.way.first() == Some(&name));
                resets = rest;
                inner.resets.extend(own);
                map.insert(name, node);
            }
            Ok(())
        }
        Value::List(items) => {
            for (index, item) in items.into_iter().enumerate() {
                if item.as_map().is_none() {
                    return refuse(&item);
                }
                let index = index.to_string();
                let own = resets
                    .iter()
                    .filter(|reset| reset.way.first() == Some(&index))
                    .map(|reset| Reset { way: reset.way[1..].to_vec(), ..reset.clone() })
                    .collect();
                merge_in(map, inner, at, Marked { node: item, resets: own, size: 0 }, trace)?;
            }
            Ok(())
        }
        _ => refuse(&bag.node),
    }
}

//! The part of a tree that a document says something about. Twenty files of a hundred services are checked as two
//! thousand services, not as twenty times all that came before.

use super::node::{Map, Node, Value};

/// Moves out of a tree what a document over it touches: of sections the resources of the same name, of all else the
/// whole. The rest stays, and each thing keeps its place.
pub fn take(base: &mut Node, over: &Node) -> Node {
    let mut part = Node { value: Value::Map(Map::new()), at: base.at, key: base.key };
    let (Some(base), Some(over)) = (base.as_map_mut(), over.as_map()) else { return part };
    for (name, touching) in over {
        let Some(slot) = base.get_mut(name) else { continue };
        let taken = match (&mut slot.value, &touching.value) {
            (Value::Map(section), Value::Map(touching)) if !name.starts_with("x-") => {
                let resource = |key: &String| Some((key.clone(), move_out(section.get_mut(key)?)));
                let moved: Map = touching.keys().filter_map(resource).collect();
                Node { value: Value::Map(moved), at: slot.at, key: slot.key }
            }
            _ => move_out(slot),
        };
        part.set(name, taken);
    }
    part
}

/// Leaves an empty place.
fn move_out(node: &mut Node) -> Node {
    std::mem::replace(node, Node::made(Value::Null))
}

/// Puts a part back where it came from, and what is new after all else.
pub fn put_back(base: &mut Node, part: Node) {
    let (Some(base), Value::Map(part)) = (base.as_map_mut(), part.value) else { return };
    for (name, node) in part {
        match base.get_mut(&name) {
            Some(Node { value: Value::Map(section), .. }) if node.as_map().is_some() => {
                if let Value::Map(resources) = node.value {
                    section.extend(resources);
                }
            }
            _ => {
                base.insert(name, node);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::yaml::read;
    use super::*;

    #[test]
    fn only_what_is_touched_moves_and_all_keeps_its_place() {
        let mut base = read("{name: p, services: {a: 1, b: 2, c: 3}, volumes: {v: 1}, x-y: {k: 1}}");
        let whole = base.clone();
        let over = read("{services: {b: 9, d: 9}, networks: {n: 1}, x-y: {l: 2}}");
        let part = take(&mut base, &over);
        assert_eq!(part.to_json().to_string(), r#"{"services":{"b":2},"x-y":{"k":1}}"#);
        put_back(&mut base, part);
        assert_eq!(base.to_json().to_string(), whole.to_json().to_string());
    }

    #[test]
    fn what_is_new_comes_last() {
        let mut base = read("{services: {a: 1, b: 2}}");
        put_back(&mut base, read("{services: {c: 3, a: 4}, volumes: {v: 1}}"));
        assert_eq!(base.to_json().to_string(), r#"{"services":{"a":4,"b":2,"c":3},"volumes":{"v":1}}"#);
    }
}

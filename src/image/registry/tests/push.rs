//! What goes to a registry, and what does not have to.

use super::server::{Answer, Server};
use super::*;
use crate::image::tests::{Made, Place, big_image, image, load_as};
use crate::image::{Platform, Reference};
use crate::progress::Silent;

fn push_as(server: &Server, place: &Place, name: &str) -> Result<Pushed, ImageError> {
    let target: Reference = format!("{}/{name}", server.address).parse().expect("a name");
    let offer = place.store.offer(&target.to_string(), None, &Platform::host())?;
    push(&place.store, &offer, &target, &Silent)
}

fn loaded(server: &Server, name: &str, made: &Made) -> Place {
    let place = Place::new();
    load_as(&place, &format!("{}/{name}", server.address), made);
    place
}

fn count(server: &Server, method: &str) -> usize {
    let script = server.script.lock().expect("not poisoned");
    script.log.iter().filter(|(known, ..)| known == method).count()
}

#[test]
fn what_is_pushed_can_be_pulled_and_is_not_pushed_twice() {
    let (server, made) = (Server::start(), image(&["a", "b"]));
    let place = loaded(&server, "web:1", &made);
    let pushed = push_as(&server, &place, "web:1").expect("pushed");
    assert_eq!(pushed.digest, made.manifest.digest);
    assert_eq!((count(&server, "PUT"), count(&server, "PATCH")), (4, 0), "small blobs go in one piece");
    let other = Place::new();
    assert_eq!(server.pull(&other, "web:1").expect("pulled").id, made.config.digest);
    push_as(&server, &place, "web:1").expect("pushed again");
    assert_eq!(count(&server, "PUT"), 4, "all of it is there");
    let origin =
        place.store.lookup(&format!("{}/web:1", server.address), &Platform::host()).expect("here").origin;
    assert_eq!(origin, Some(made.manifest.digest));
}

#[test]
fn another_repository_of_the_registry_lends_its_blobs() {
    let (server, made) = (Server::start(), image(&["a", "b"]));
    let place = loaded(&server, "team/web:1", &made);
    push_as(&server, &place, "team/web:1").expect("pushed");
    let name: Reference = format!("{}/team/copy:1", server.address).parse().expect("a name");
    place.store.tag(&format!("{}/team/web:1", server.address), &name).expect("tagged");
    let before = count(&server, "PUT");
    push_as(&server, &place, "team/copy:1").expect("pushed");
    assert_eq!(count(&server, "PUT"), before + 1, "only the manifest was sent");
}

#[test]
fn a_large_blob_goes_on_where_the_connection_broke() {
    let (server, made) = (Server::start(), big_image(5 << 20));
    let place = loaded(&server, "web:1", &made);
    server.script.lock().expect("not poisoned").cut = Some(3 << 20);
    push_as(&server, &place, "web:1").expect("pushed");
    let script = server.script.lock().expect("not poisoned");
    assert_eq!(script.log.iter().filter(|(method, ..)| method == "PATCH").count(), 2);
    let path = format!("/v2/web/blobs/{}", made.layers[0].digest);
    assert_eq!(script.stored[&path], made.layers[0].bytes);
}

#[test]
fn a_registry_that_says_no_is_believed() {
    let (server, made) = (Server::start(), image(&["a"]));
    let place = loaded(&server, "web:1", &made);
    let refused = Answer::Status(403, String::new());
    server.on("POST /v2/web/blobs/uploads/", vec![refused]);
    let error = push_as(&server, &place, "web:1").expect_err("must be refused");
    let text = error.to_string();
    assert!(text.contains("does not let anonymous users write"), "{text}");
    let layer = place.path().join("blobs/sha256").join(made.layers[0].digest.hex());
    std::fs::remove_file(layer).expect("removed");
    let server = Server::start();
    let place = loaded(&server, "web:1", &made);
    std::fs::remove_file(place.path().join("blobs/sha256").join(made.layers[0].digest.hex()))
        .expect("removed");
    let error = push_as(&server, &place, "web:1").expect_err("a blob is missing");
    assert!(matches!(error, ImageError::MissingBlob { .. }), "{error}");
}

//! Lists: pages, revisions, selectors, tables.

use super::Server;
use serde_json::{Value, json};

const MAPS: &str = "/api/v1/namespaces/default/configmaps";

async fn with_maps(count: usize) -> Server {
    let server = Server::new().await;
    for number in 0..count {
        let parity = if number % 2 == 0 { "even" } else { "odd" };
        let map = json!({ "metadata": { "name": format!("m{number:02}"), "labels": { "parity": parity } } });
        server.post(MAPS, &map).await.expect(201);
    }
    server
}

fn names(list: &Value) -> Vec<&str> {
    list["items"].as_array().unwrap().iter().map(|item| item["metadata"]["name"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn pages_show_every_object_once_at_one_revision() {
    let server = with_maps(7).await;
    let first = server.get(&format!("{MAPS}?limit=3")).await.expect(200);
    assert_eq!(names(&first), ["m00", "m01", "m02"]);
    assert_eq!(first["metadata"]["remainingItemCount"], 4);
    // A write between two pages is not seen by the later ones.
    server.post(MAPS, &json!({ "metadata": { "name": "m03a" } })).await.expect(201);
    let token = first["metadata"]["continue"].as_str().unwrap();
    let second = server.get(&format!("{MAPS}?limit=3&continue={token}")).await.expect(200);
    assert_eq!(names(&second), ["m03", "m04", "m05"]);
    assert_eq!(second["metadata"]["resourceVersion"], first["metadata"]["resourceVersion"]);
    let token = second["metadata"]["continue"].as_str().unwrap();
    let third = server.get(&format!("{MAPS}?limit=3&continue={token}")).await.expect(200);
    assert_eq!(names(&third), ["m06"]);
    assert!(third["metadata"].get("continue").is_none());
}

#[tokio::test]
async fn a_selector_reads_on_until_the_page_is_full() {
    let server = with_maps(7).await;
    let page = server.get(&format!("{MAPS}?limit=3&labelSelector=parity%3Dodd")).await.expect(200);
    assert_eq!(names(&page), ["m01", "m03", "m05"]);
    assert!(page["metadata"].get("remainingItemCount").is_none());
    let one = server.get(&format!("{MAPS}?fieldSelector=metadata.name%3Dm04")).await.expect(200);
    assert_eq!(names(&one), ["m04"]);
}

#[tokio::test]
async fn an_exact_revision_shows_the_past() {
    let server = with_maps(1).await;
    let before = server.get(MAPS).await.expect(200);
    let revision = before["metadata"]["resourceVersion"].as_str().unwrap();
    server.delete(&format!("{MAPS}/m00")).await.expect(200);
    let past = server.get(&format!("{MAPS}?resourceVersion={revision}&resourceVersionMatch=Exact")).await.expect(200);
    assert_eq!(names(&past), ["m00"]);
    assert!(names(&server.get(MAPS).await.expect(200)).is_empty());
}

#[tokio::test]
async fn a_compacted_token_gives_one_that_goes_on_at_the_current_revision() {
    let server = with_maps(5).await;
    let first = server.get(&format!("{MAPS}?limit=2")).await.expect(200);
    server.post(MAPS, &json!({ "metadata": { "name": "m02a" } })).await.expect(201);
    server.api.store.compact(server.api.store.revision()).await.unwrap();
    let token = first["metadata"]["continue"].as_str().unwrap();
    let expired = server.get(&format!("{MAPS}?limit=2&continue={token}")).await.expect(410);
    assert_eq!(expired["reason"], "Expired");
    let token = expired["metadata"]["continue"].as_str().unwrap();
    let rest = server.get(&format!("{MAPS}?continue={token}")).await.expect(200);
    assert_eq!(names(&rest), ["m02", "m02a", "m03", "m04"]);
}

#[tokio::test]
async fn items_of_a_typed_list_do_not_repeat_their_type() {
    let server = with_maps(1).await;
    let list = server.get(MAPS).await.expect(200);
    assert_eq!((&list["kind"], &list["apiVersion"]), (&json!("ConfigMapList"), &json!("v1")));
    assert!(list["items"][0].get("kind").is_none() && list["items"][0].get("apiVersion").is_none());
}

#[tokio::test]
async fn a_table_and_metadata_are_made_of_the_same_objects() {
    let server = with_maps(2).await;
    let table = server.send("GET", MAPS, &[("accept", "application/json;as=Table;v=v1;g=meta.k8s.io")], b"").await.expect(200);
    assert_eq!((&table["kind"], &table["rows"][1]["cells"][0]), (&json!("Table"), &json!("m01")));
    assert_eq!(table["columnDefinitions"][0]["name"], "Name");
    let accept = "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io";
    let list = server.send("GET", MAPS, &[("accept", accept)], b"").await.expect(200);
    assert_eq!((&list["kind"], &list["items"][0]["kind"]), (&json!("PartialObjectMetadataList"), &json!("PartialObjectMetadata")));
    assert!(list["items"][0].get("data").is_none());
}

#[tokio::test]
async fn a_collection_is_deleted_by_selector() {
    let server = with_maps(6).await;
    let deleted = server.delete(&format!("{MAPS}?labelSelector=parity%3Deven")).await.expect(200);
    assert_eq!(names(&deleted), ["m00", "m02", "m04"]);
    assert_eq!(names(&server.get(MAPS).await.expect(200)), ["m01", "m03", "m05"]);
}

//! `edgeward backup` and `edgeward restore` beside a real gateway, and a database that is damaged.

use std::{
    fs,
    io::{Seek as _, SeekFrom, Write as _},
    path::Path,
};

use edgeward_tests::{Process, cli};
use serde_json::{Value, json};

use crate::{
    access::ids,
    apis::{PETS, Site, saying},
};

async fn says(site: &Site) -> String {
    site.get(PETS, "/prod/a").await.text()
}

#[tokio::test]
async fn what_is_backed_up_under_writes_is_a_state_that_was_and_can_be_served_again() {
    let site = Site::start();
    site.apply(saying("one")).await;
    site.done("POST", "/v1/apis/pets/deployments", json!({"stage": "prod"}))
        .await;
    assert_eq!(says(&site).await, "one");
    let folder = site.folder.path().to_owned();
    // resources of both kinds are made together: a backup has both or none of a pair
    let write = async {
        for number in 0..20 {
            let api = |name: &str| (format!("{name}{number}"), json!({}));
            let apis: serde_json::Map<String, Value> = [api("left"), api("right")].into_iter().collect();
            let mut bundle = saying("one");
            bundle["apis"].as_object_mut().unwrap().extend(apis);
            site.apply(bundle).await;
        }
    };
    let back_up = async {
        for number in 0..3 {
            let done = cli(&folder, &["backup", "-o", &format!("{number}.tar")]).await;
            assert_eq!(done.code, 0, "{done:?}");
        }
    };
    tokio::join!(write, back_up);
    let over = cli(&folder, &["backup", "-o", "0.tar"]).await;
    assert_eq!(over.code, 1, "what is there stays: {over:?}");
    site.apply(saying("two")).await;
    site.done("POST", "/v1/apis/pets/deployments", json!({"stage": "prod"}))
        .await;
    assert_eq!(says(&site).await, "two");
    let running = cli(&folder, &["restore", "-f", "2.tar"]).await;
    assert_eq!(running.code, 1, "a gateway has the folder: {running:?}");

    let mut site = site;
    for number in 0..3 {
        let file = folder.join(format!("{number}.tar"));
        let Site {
            origin,
            folder,
            process,
        } = site;
        process.kill();
        fs::remove_dir_all(folder.path().join("data")).unwrap();
        let done = cli(folder.path(), &["restore", "-f", file.to_str().unwrap()]).await;
        assert_eq!(done.code, 0, "{done:?}");
        let process = Process::start(folder.path());
        site = Site {
            origin,
            folder,
            process,
        };
        assert_eq!(says(&site).await, "one", "{number}");
        let apis = site.done("GET", "/v1/apis?limit=1000", Value::Null).await;
        let apis = ids(&apis);
        assert_eq!(apis.len() % 2, 1, "pairs, and the one that serves: {apis:?}");
        let checked = site.done("GET", "/v1/audit/verify", Value::Null).await;
        assert_eq!(checked["problem"], Value::Null, "{checked}");
    }
}

#[tokio::test]
async fn a_damaged_backup_is_not_restored() {
    let site = Site::start();
    site.apply(saying("one")).await;
    let folder = site.folder.path();
    assert_eq!(cli(folder, &["backup", "-o", "good.tar"]).await.code, 0);
    let good = fs::read(folder.join("good.tar")).unwrap();
    let mut changed = good.clone();
    let at = changed.len() / 2;
    changed[at] ^= 1;
    fs::write(folder.join("changed.tar"), changed).unwrap();
    fs::write(folder.join("short.tar"), &good[..good.len() / 2]).unwrap();
    for name in ["changed.tar", "short.tar"] {
        let done = cli(folder, &["restore", "-f", name, "--data-dir", "other"]).await;
        assert_eq!(done.code, 1, "{name}: {done:?}");
        assert!(
            !folder.join("other/edgeward.db").exists(),
            "{name}: nothing of it is kept"
        );
    }
}

#[tokio::test]
async fn a_gateway_does_not_start_on_a_damaged_database() {
    let site = Site::start();
    for number in 0..40 {
        let body = json!({"id": format!("api{number}"), "description": "x".repeat(2000)});
        site.done("POST", "/v1/apis", body).await;
    }
    let Site { folder, process, .. } = site;
    process.kill();
    damage(&folder.path().join("data"));
    let told = Process::try_start(folder.path()).err().unwrap();
    assert!(
        told.contains("damaged") && told.contains("restore a backup"),
        "{told}"
    );
}

/// Writes over pages in the middle of the database, with what was in its log merged into it.
fn damage(data: &Path) {
    let path = data.join("edgeward.db");
    let connection = rusqlite::Connection::open(&path).unwrap();
    connection
        .query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_row| Ok(()))
        .unwrap();
    drop(connection);
    let mut file = fs::OpenOptions::new().write(true).open(&path).unwrap();
    let len = file.metadata().unwrap().len();
    file.seek(SeekFrom::Start(len / 2)).unwrap();
    file.write_all(&vec![0x5a; 16 << 10]).unwrap();
}

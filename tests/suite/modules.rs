//! Bytes that are no plugin.

use edgeward_runtime::{LoadError, digest};
use edgeward_tests::{guest_bytes, load, runtime};
use serde_json::json;

/// An empty component, an empty core module, and a core module that exports what plugins do not.
const EMPTY_COMPONENT: &[u8] = b"\0asm\x0d\0\x01\0";
const EMPTY_MODULE: &[u8] = b"\0asm\x01\0\0\0";

async fn refused(wasm: &[u8]) -> LoadError {
    let runtime = runtime();
    let inspected = runtime.inspect(wasm).is_ok();
    let error = load(&runtime, wasm, json!({"config": {"version": "1"}}))
        .await
        .expect_err("this is no plugin");
    assert!(
        !inspected || matches!(error, LoadError::Invalid { .. }),
        "{error}"
    );
    error
}

#[tokio::test]
async fn what_is_not_wasm_is_refused() {
    for bytes in [
        &b""[..],
        b"\0",
        b"\0as",
        b"not wasm at all",
        b"\x7fELF\x02\x01\x01",
        b"\0asm",
        b"\0asm\x07\0\0\0",
    ] {
        let error = refused(bytes).await;
        assert!(matches!(error, LoadError::Invalid { .. }), "{error}");
        assert!(error.to_string().contains(&digest(bytes).to_string()), "{error}");
    }
}

#[tokio::test]
async fn modules_of_another_world_are_refused_with_what_they_lack() {
    let error = refused(EMPTY_COMPONENT).await;
    assert!(matches!(error, LoadError::WrongWorld { .. }), "{error:?}");
    assert!(error.to_string().contains("lifecycle"), "{error}");
    let error = refused(EMPTY_MODULE).await;
    assert!(
        error.to_string().contains("lifecycle") || error.to_string().contains("component"),
        "{error}"
    );
}

#[tokio::test]
async fn a_module_cut_off_anywhere_is_refused() {
    let whole = guest_bytes("stamp");
    let runtime = runtime();
    let mut lengths: Vec<usize> = (0..64)
        .chain((1..40).map(|part| whole.len() * part / 40))
        .collect();
    lengths.extend([whole.len() - 1, whole.len() - 2, whole.len() - 100]);
    for length in lengths {
        let cut = &whole[..length];
        // the end of a module may be a section that nobody needs; what is accepted must then load and run
        if runtime.inspect(cut).is_ok() {
            let loaded = load(&runtime, cut, json!({"config": {"version": "1"}})).await;
            assert!(
                loaded.is_ok() || matches!(loaded, Err(LoadError::Invalid { .. })),
                "{length} bytes: {loaded:?}"
            );
        }
    }
}

#[tokio::test]
async fn flipped_bits_never_bring_the_host_down() {
    let whole = guest_bytes("no-interest");
    let runtime = runtime();
    for step in 0..200 {
        let mut changed = whole.clone();
        let at = 8 + step * (whole.len() - 8) / 200;
        changed[at] ^= 1 << (step % 8);
        // whatever it is now, asking must end with an answer
        drop(runtime.inspect(&changed));
    }
}

#[tokio::test]
async fn the_report_of_a_module_says_what_it_is() {
    let runtime = runtime();
    let wasm = guest_bytes("kitchen-sink");
    let info = runtime.inspect(&wasm).unwrap();
    assert_eq!((info.digest, info.size), (digest(&wasm), wasm.len() as u64));
    for hook in ["authorize", "inspect", "transform", "observe"] {
        assert!(info.hooks.iter().any(|known| known == hook), "{info:?}");
    }
    for capability in ["kv", "http", "secret", "metrics", "matcher", "crypto"] {
        assert!(
            info.capabilities.iter().any(|known| known == capability),
            "{info:?}"
        );
    }
    assert!(info.wit_version.starts_with("0.1."), "{info:?}");
    assert_eq!(info.wit_served, "0.1", "the host says what it serves");
}

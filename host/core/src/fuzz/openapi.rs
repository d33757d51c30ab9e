//! OpenAPI documents.

use crate::openapi::{Backend, BasePath, Extensions, Options, Version, export, import, read};

/// Any text is a document that becomes an API, or is refused with reasons. What it became is the same after it was written as a document of any version and
/// read again.
pub fn openapi(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let Ok(document) = read(text) else { return };
    for backend in [None, Some(Backend::Servers)] {
        let options = Options {
            base_path: BasePath::Prepend,
            backend,
            ..Options::default()
        };
        match import(&document, &options) {
            Err(problems) => assert!(!problems.0.is_empty(), "refused without a reason"),
            Ok(imported) => {
                for version in Version::ALL {
                    let written = export("some-id", &imported.definition, version, Extensions::ALL, None);
                    let again = import(&written.document, &Options::default()).map(|again| again.definition);
                    assert_eq!(again.as_ref(), Ok(&imported.definition), "{version:?}");
                    drop(export(
                        "some-id",
                        &imported.definition,
                        version,
                        Extensions::NONE,
                        None,
                    ));
                }
            }
        }
    }
}

//! What `wit-bindgen` makes of `wit/`: the types of every interface, the imports, and one export macro per hook.
//!
//! One world holds everything that is shared; each exported interface has a world of its own that reuses those types, so that a
//! plugin's component exports (and describes in its custom section) only what `export!` was asked for. Nothing here is written by
//! hand; the rest of the SDK wraps it. The unsafe code of the component ABI is in here only, from the macro.

#![expect(
    clippy::mem_forget,
    reason = "generated: memory whose owner is the caller of an export"
)]

/// Types, heads and capabilities: what all plugins may import.
pub mod imports {
    wit_bindgen::generate!({
        path: "wit",
        inline: "
            package edgeward:sdk;
            world imports {
                include edgeward:plugin/capabilities@0.1.0;
                import edgeward:plugin/head@0.1.0;
            }
        ",
        generate_all,
        generate_unused_types: true,
        additional_derives: [PartialEq],
        type_section_suffix: "edgeward-sdk",
    });
}

macro_rules! export_world {
    ($module:ident, $world:literal, $export:literal $(, $head:literal)?) => {
        #[doc = concat!("The world `", $world, "`.")]
        pub mod $module {
            wit_bindgen::generate!({
                path: "wit",
                world: $world,
                with: {
                    $($head: crate::bindings::imports::edgeward::plugin::head,)?
                    "edgeward:plugin/types@0.1.0": crate::bindings::imports::edgeward::plugin::types,
                    "edgeward:plugin/log@0.1.0": crate::bindings::imports::edgeward::plugin::log,
                    "edgeward:plugin/metrics@0.1.0": crate::bindings::imports::edgeward::plugin::metrics,
                    "edgeward:plugin/entropy@0.1.0": crate::bindings::imports::edgeward::plugin::entropy,
                    "edgeward:plugin/clock@0.1.0": crate::bindings::imports::edgeward::plugin::clock,
                    "edgeward:plugin/kv@0.1.0": crate::bindings::imports::edgeward::plugin::kv,
                    "edgeward:plugin/http@0.1.0": crate::bindings::imports::edgeward::plugin::http,
                    "edgeward:plugin/matcher@0.1.0": crate::bindings::imports::edgeward::plugin::matcher,
                    "edgeward:plugin/crypto@0.1.0": crate::bindings::imports::edgeward::plugin::crypto,
                    "edgeward:plugin/secret@0.1.0": crate::bindings::imports::edgeward::plugin::secret,
                },
                generate_all,
                additional_derives: [PartialEq],
                type_section_suffix: "edgeward-sdk",
                pub_export_macro: true,
                export_macro_name: $export,
            });
        }
    };
}

export_world!(lifecycle, "lifecycle-export", "export_lifecycle");
export_world!(
    authorize,
    "authorize-export",
    "export_authorize",
    "edgeward:plugin/head@0.1.0"
);
export_world!(
    transform,
    "transform-export",
    "export_transform",
    "edgeward:plugin/head@0.1.0"
);
export_world!(
    inspect,
    "inspect-export",
    "export_inspect",
    "edgeward:plugin/head@0.1.0"
);
export_world!(
    observe,
    "observe-export",
    "export_observe",
    "edgeward:plugin/head@0.1.0"
);

//! [`crate::export!`]: makes a component of a plugin. Everything else here is what the macro expands to.

/// Exports a plugin type as a component with the hooks it names, any of `authorize`, `transform`, `inspect`, `observe`. The
/// component exports exactly those and `lifecycle`, and imports only the capabilities that the plugin calls.
///
/// On other targets than WebAssembly it only checks that the type implements the traits.
///
/// ```
/// use edgeward_sdk::prelude::*;
///
/// struct Hello;
///
/// impl Plugin for Hello {
///     fn init(_config: &str) -> Result<(Self, Interest), String> {
///         Ok((Hello, Interest::none().response_head()))
///     }
/// }
///
/// impl Transform for Hello {
///     fn on_response_head(&mut self, _: &RequestHead, response: &ResponseHead, _: &Exchange) -> HeadAction {
///         match response.set_header("x-hello", "world") {
///             Ok(()) => HeadAction::Proceed,
///             Err(reason) => Answer::new(500).body(reason).into(),
///         }
///     }
/// }
///
/// edgeward_sdk::export!(Hello: transform);
/// ```
#[macro_export]
macro_rules! export {
    ($plugin:ty : $($hook:ident),+ $(,)?) => {
        #[cfg(not(target_arch = "wasm32"))]
        const _: () = {
            $($crate::__export_hook!(check $hook $plugin);)+
        };

        #[cfg(target_arch = "wasm32")]
        const _: () = {
            impl $crate::export::Instance for $plugin {
                fn cell() -> &'static ::std::thread::LocalKey<::std::cell::RefCell<::core::option::Option<Self>>> {
                    ::std::thread_local! {
                        static PLUGIN: ::std::cell::RefCell<::core::option::Option<$plugin>> =
                            const { ::std::cell::RefCell::new(::core::option::Option::None) };
                    }
                    &PLUGIN
                }
            }
            type Component = $crate::export::Component<$plugin>;
            $crate::__export_hook!(export lifecycle Component);
            $($crate::__export_hook!(export $hook Component);)+
        };
    };
}

/// One hook of [`export!`].
#[doc(hidden)]
#[macro_export]
macro_rules! __export_hook {
    (check authorize $plugin:ty) => { const _: fn() = $crate::export::check_authorize::<$plugin>; };
    (check transform $plugin:ty) => { const _: fn() = $crate::export::check_transform::<$plugin>; };
    (check inspect $plugin:ty) => { const _: fn() = $crate::export::check_inspect::<$plugin>; };
    (check observe $plugin:ty) => { const _: fn() = $crate::export::check_observe::<$plugin>; };
    (export lifecycle $component:ident) => {
        $crate::bindings::lifecycle::export_lifecycle!($component with_types_in $crate::bindings::lifecycle);
    };
    (export authorize $component:ident) => {
        $crate::bindings::authorize::export_authorize!($component with_types_in $crate::bindings::authorize);
    };
    (export transform $component:ident) => {
        $crate::bindings::transform::export_transform!($component with_types_in $crate::bindings::transform);
    };
    (export inspect $component:ident) => {
        $crate::bindings::inspect::export_inspect!($component with_types_in $crate::bindings::inspect);
    };
    (export observe $component:ident) => {
        $crate::bindings::observe::export_observe!($component with_types_in $crate::bindings::observe);
    };
    ($step:ident $other:ident $($plugin:tt)*) => {
        ::core::compile_error!(::core::concat!(
            "`", ::core::stringify!($other), "` is no hook: use authorize, transform, inspect or observe"
        ));
    };
}

/// Compiles when the type implements the hook.
#[doc(hidden)]
pub fn check_authorize<P: crate::Authorize>() {}
/// Compiles when the type implements the hook.
#[doc(hidden)]
pub fn check_transform<P: crate::Transform>() {}
/// Compiles when the type implements the hook.
#[doc(hidden)]
pub fn check_inspect<P: crate::Inspect>() {}
/// Compiles when the type implements the hook.
#[doc(hidden)]
pub fn check_observe<P: crate::Observe>() {}

#[cfg(target_arch = "wasm32")]
pub use component::{Component, Instance};

#[cfg(target_arch = "wasm32")]
#[path = "export/component.rs"]
mod component;

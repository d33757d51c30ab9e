;; The least that a proxy-wasm filter (ABI 0.2.1) can do to add one field to the request and one to the response.
(module
  (import "env" "proxy_add_header_map_value"
    (func $add (param $map i32) (param $key i32) (param $key-size i32) (param $value i32) (param $value-size i32) (result i32)))
  (memory (export "memory") 2)
  (data (i32.const 64) "x-plugin")
  (data (i32.const 80) "x-plugin-resp")
  (data (i32.const 96) "hello")

  ;; what the host allocates is read before its next call, so memory is given out round and round
  (global $next (mut i32) (i32.const 4096))
  (func (export "malloc") (param $size i32) (result i32) (local $at i32)
    (if (i32.gt_u (i32.add (global.get $next) (local.get $size)) (i32.const 131072))
      (then (global.set $next (i32.const 4096))))
    (local.set $at (global.get $next))
    (global.set $next (i32.and (i32.add (i32.add (local.get $at) (local.get $size)) (i32.const 15)) (i32.const -16)))
    (local.get $at))

  (func (export "proxy_abi_version_0_2_1"))
  (func (export "proxy_on_context_create") (param i32 i32))
  (func (export "proxy_on_vm_start") (param i32 i32) (result i32) (i32.const 1))
  (func (export "proxy_on_configure") (param i32 i32) (result i32) (i32.const 1))
  (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
    (drop (call $add (i32.const 0) (i32.const 64) (i32.const 8) (i32.const 96) (i32.const 5)))
    (i32.const 0))
  (func (export "proxy_on_response_headers") (param i32 i32 i32) (result i32)
    (drop (call $add (i32.const 2) (i32.const 80) (i32.const 13) (i32.const 96) (i32.const 5)))
    (i32.const 0))
  (func (export "proxy_on_done") (param i32) (result i32) (i32.const 1))
  (func (export "proxy_on_log") (param i32))
  (func (export "proxy_on_delete") (param i32)))

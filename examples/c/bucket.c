// Buckets for experiments: every client falls into one of N buckets, always the same. The upstream learns it from the request
// field x-bucket, the client from the response field of that name, later plugins from the context (`bucket`). The client is known by
// the field x-client-id, or by its address.
#include "transformer.h"

#define BUCKETS_MAX 1000

// Set by init and part of the snapshot that every request starts from.
static uint32_t buckets;

static transformer_string_t text(const char *literal) {
  transformer_string_t string;
  transformer_string_set(&string, literal);
  return string;
}

// FNV-1a: the same on every gateway and after every restart.
static uint32_t hash(const uint8_t *bytes, size_t len) {
  uint32_t hash = 2166136261u;
  for (size_t i = 0; i < len; i++) hash = (hash ^ bytes[i]) * 16777619u;
  return hash;
}

// Decimal digits of a number, without stdio: it would ask for WASI.
static size_t decimal(uint32_t number, uint8_t out[10]) {
  uint8_t digits[10];
  size_t len = 0;
  do digits[len++] = (uint8_t)('0' + number % 10); while ((number /= 10) > 0);
  for (size_t i = 0; i < len; i++) out[i] = digits[len - 1 - i];
  return len;
}

static void report(const char *what, transformer_string_t *problem) {
  transformer_string_t line = text(what);
  edgeward_plugin_log_log(EDGEWARD_PLUGIN_LOG_LEVEL_WARN, &line);
  edgeward_plugin_log_log(EDGEWARD_PLUGIN_LOG_LEVEL_WARN, problem);
  transformer_string_free(problem);
}

// `config` is the number of buckets.
bool exports_edgeward_plugin_lifecycle_init(transformer_string_t *config, exports_edgeward_plugin_lifecycle_interest_t *ret,
                                            transformer_string_t *err) {
  uint32_t number = 0;
  bool good = config->len > 0 && config->len <= 4;
  for (size_t i = 0; good && i < config->len; i++) {
    good = config->ptr[i] >= '0' && config->ptr[i] <= '9';
    number = number * 10 + (uint32_t)(config->ptr[i] - '0');
  }
  transformer_string_free(config);
  if (!good || number < 2 || number > BUCKETS_MAX) {
    transformer_string_dup(err, "config: not a number of buckets from 2 to 1000");
    return false;
  }
  buckets = number;
  ret->phases = EXPORTS_EDGEWARD_PLUGIN_LIFECYCLE_PHASES_REQUEST_HEAD | EXPORTS_EDGEWARD_PLUGIN_LIFECYCLE_PHASES_RESPONSE_HEAD;
  ret->request_body.tag = EXPORTS_EDGEWARD_PLUGIN_LIFECYCLE_BODY_MODE_NONE;
  ret->response_body.tag = EXPORTS_EDGEWARD_PLUGIN_LIFECYCLE_BODY_MODE_NONE;
  ret->request_digest = false;
  ret->capabilities.ptr = NULL;
  ret->capabilities.len = 0;
  return true;
}

void exports_edgeward_plugin_transform_on_request_head(exports_edgeward_plugin_transform_borrow_request_head_t request,
                                                       exports_edgeward_plugin_transform_borrow_exchange_t exchange,
                                                       exports_edgeward_plugin_transform_head_action_t *ret) {
  transformer_string_t client_id = text("x-client-id"), field = text("x-bucket"), key = text("bucket"), problem;
  transformer_list_u8_t client;
  uint32_t bucket;
  if (edgeward_plugin_head_method_request_head_header(request, &client_id, &client)) {
    bucket = hash(client.ptr, client.len) % buckets;
    transformer_list_u8_free(&client);
  } else {
    edgeward_plugin_head_peer_t peer;
    edgeward_plugin_head_method_exchange_peer(exchange, &peer);
    bucket = hash(peer.client_address.ptr, peer.client_address.len) % buckets;
    edgeward_plugin_head_peer_free(&peer);
  }

  uint8_t digits[10];
  transformer_list_u8_t value = {digits, decimal(bucket, digits)};
  if (!edgeward_plugin_head_method_request_head_set_header(request, &field, &value, &problem)) {
    report("the request field x-bucket cannot be set:", &problem);
  }
  edgeward_plugin_head_context_value_t number = {.tag = EDGEWARD_PLUGIN_TYPES_CONTEXT_VALUE_INTEGER, .val = {.integer = bucket}};
  if (!edgeward_plugin_head_method_exchange_set(exchange, &key, &number, &problem)) {
    report("the bucket cannot be put into the context:", &problem);
  }
  ret->tag = EXPORTS_EDGEWARD_PLUGIN_TRANSFORM_HEAD_ACTION_PROCEED;
}

void exports_edgeward_plugin_transform_on_response_head(exports_edgeward_plugin_transform_borrow_request_head_t request,
                                                        exports_edgeward_plugin_transform_borrow_response_head_t response,
                                                        exports_edgeward_plugin_transform_borrow_exchange_t exchange,
                                                        exports_edgeward_plugin_transform_head_action_t *ret) {
  (void)exchange;
  transformer_string_t field = text("x-bucket"), problem;
  transformer_list_u8_t value;
  if (edgeward_plugin_head_method_request_head_header(request, &field, &value)) {
    if (!edgeward_plugin_head_method_response_head_set_header(response, &field, &value, &problem)) {
      report("the response field x-bucket cannot be set:", &problem);
    }
    transformer_list_u8_free(&value);
  }
  ret->tag = EXPORTS_EDGEWARD_PLUGIN_TRANSFORM_HEAD_ACTION_PROCEED;
}

// The rest of the world. The host calls only what `phases` named; C wants a definition all the same.

void exports_edgeward_plugin_transform_on_request_body(exports_edgeward_plugin_transform_borrow_request_head_t request,
                                                       exports_edgeward_plugin_transform_borrow_exchange_t exchange,
                                                       transformer_list_u8_t *chunk,
                                                       exports_edgeward_plugin_transform_body_state_t state,
                                                       exports_edgeward_plugin_transform_body_action_t *ret) {
  (void)request, (void)exchange, (void)state;
  transformer_list_u8_free(chunk);
  ret->tag = EXPORTS_EDGEWARD_PLUGIN_TRANSFORM_BODY_ACTION_PROCEED;
}

void exports_edgeward_plugin_transform_on_response_body(exports_edgeward_plugin_transform_borrow_request_head_t request,
                                                        exports_edgeward_plugin_transform_borrow_response_head_t response,
                                                        exports_edgeward_plugin_transform_borrow_exchange_t exchange,
                                                        transformer_list_u8_t *chunk,
                                                        exports_edgeward_plugin_transform_body_state_t state,
                                                        exports_edgeward_plugin_transform_body_action_t *ret) {
  (void)request, (void)response, (void)exchange, (void)state;
  transformer_list_u8_free(chunk);
  ret->tag = EXPORTS_EDGEWARD_PLUGIN_TRANSFORM_BODY_ACTION_PROCEED;
}

bool exports_edgeward_plugin_transform_on_gateway_error(exports_edgeward_plugin_transform_borrow_request_head_t request,
                                                        exports_edgeward_plugin_transform_borrow_response_head_t response,
                                                        exports_edgeward_plugin_transform_borrow_exchange_t exchange,
                                                        exports_edgeward_plugin_transform_gateway_error_t *error,
                                                        exports_edgeward_plugin_transform_answer_t *ret) {
  (void)request, (void)response, (void)exchange, (void)ret;
  exports_edgeward_plugin_transform_gateway_error_free(error);
  return false;
}

// Signed links: a request passes when its query carries `expires` (seconds since 1970) and `signature`, the HMAC-SHA-256 of
// "<path>?expires=<expires>" under a shared secret, in hex. The holder of the secret hands out links that end by themselves.
import { nowMs } from "edgeward:plugin/clock@0.1.0";
import { hmacVerify } from "edgeward:plugin/crypto@0.1.0";
import { log } from "edgeward:plugin/log@0.1.0";
import { get as getSecret } from "edgeward:plugin/secret@0.1.0";

const NO_BODY = { tag: "none" };
const KEYS = ["secret", "longest-seconds"];

/** Set by init and part of the snapshot that every request starts from. */
let settings;

export const lifecycle = {
  init(config) {
    const given = JSON.parse(config) ?? {};
    const unknown = Object.keys(given).filter((key) => !KEYS.includes(key));
    if (unknown.length > 0) throw `config.${unknown[0]}: unknown key; known are ${KEYS.join(", ")}`;
    const { secret = "link-key", "longest-seconds": longest = null } = given;
    if (typeof secret !== "string") throw "config.secret: not a text";
    if (longest !== null && !(Number.isInteger(longest) && longest > 0)) {
      throw `config.longest-seconds: ${longest} is no positive integer`;
    }
    settings = { secret, longest };
    return {
      phases: { authorize: true },
      requestBody: NO_BODY,
      responseBody: NO_BODY,
      requestDigest: false,
      capabilities: ["secret"],
    };
  },
};

export const authorize = {
  authorize(request, _exchange) {
    const expires = request.queryParam("expires");
    const signature = request.queryParam("signature");
    if (expires === undefined || signature === undefined) return deny(401, "the link is not signed");
    if (!/^[0-9]{1,12}$/.test(expires) || !/^[0-9a-f]{64}$/.test(signature)) {
      return deny(401, "the signature of the link is malformed");
    }
    const message = new TextEncoder().encode(`${request.path()}?expires=${expires}`);
    const bytes = Uint8Array.from(signature.match(/../g), (pair) => parseInt(pair, 16));
    let key;
    try {
      key = getSecret(settings.secret);
    } catch (error) {
      log("error", `secret ${settings.secret} cannot be had: ${JSON.stringify(error.payload ?? String(error))}`);
      return deny(503, "links cannot be checked now");
    }
    if (!hmacVerify("sha256", key, message, bytes)) return deny(403, "the signature of the link is wrong");
    const left = Number(expires) - Number(nowMs()) / 1000;
    if (left < 0) return deny(403, "the link has expired");
    if (settings.longest !== null && left > settings.longest) return deny(403, "the link is valid for too long");
    return {
      tag: "allow",
      val: {
        principal: `link:${request.path()}`,
        context: [{ key: "expires", value: { tag: "integer", val: BigInt(expires) } }],
        usageKey: undefined,
        ttlSeconds: undefined,
      },
    };
  },
};

function deny(status, reason) {
  return { tag: "deny", val: { status, reason, headers: [] } };
}

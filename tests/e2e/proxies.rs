//! Real servers in front of the loopback Hub: nginx (passing through, caching, below a path), varnish and squid.
//! `.ci/run` installs them if it can; without them these tests print that they were skipped.

use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use hfget_loopback_hub::{Access, Fault, Hub, Kind, Options, Place, Repo, TOKEN};

use super::support::{CHATGLM, Machine, Run, fixture, one_file, safetensors};

/// A running server; it ends with the test.
struct Server {
    child: Child,
    port: u16,
    home: PathBuf,
}

impl Drop for Server {
    fn drop(&mut self) {
        // A master process ends its workers on SIGTERM, not on SIGKILL.
        let _ = Command::new("kill").arg(self.child.id().to_string()).status();
        let asked = Instant::now();
        while matches!(self.child.try_wait(), Ok(None)) && asked.elapsed() < Duration::from_secs(5) {
            std::thread::sleep(Duration::from_millis(20));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A port that is free at present.
fn free_port() -> u16 {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port()
}

impl Server {
    /// Starts a program that will listen on `port`; prints a line and returns `None` if it is not installed.
    fn start(machine: &Machine, program: &str, port: u16, arguments: &dyn Fn(&Path) -> Vec<String>) -> Option<Self> {
        let home = machine.home.path().join(program);
        std::fs::create_dir_all(&home).unwrap();
        // Some of these programs drop root's rights.
        let open = std::os::unix::fs::PermissionsExt::from_mode(0o777);
        std::fs::set_permissions(&home, open).unwrap();
        let open = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(machine.home.path(), open).unwrap();
        let path = format!("{}:/usr/sbin:/usr/local/sbin", std::env::var("PATH").unwrap_or_default());
        let log = std::fs::File::create(home.join("output")).unwrap();
        let started = Command::new("env")
            .arg(format!("PATH={path}"))
            .arg(program)
            .args(arguments(&home))
            .current_dir(&home)
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn();
        let mut server = Server { child: started.unwrap(), port, home };
        let began = Instant::now();
        while TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err() {
            if let Some(ended) = server.child.try_wait().unwrap() {
                // `env` ends with this code if the program does not exist.
                if ended.code() == Some(127) {
                    eprintln!("skipped: no {program} here (apt-get install {program})");
                    return None;
                }
                panic!("{program} ended with {ended}: {}", server.said());
            }
            assert!(began.elapsed() < Duration::from_mins(1), "{program} does not listen: {}", server.said());
            std::thread::sleep(Duration::from_millis(50));
        }
        Some(server)
    }

    fn said(&self) -> String {
        std::fs::read_to_string(self.home.join("output")).unwrap_or_default()
    }

    fn url(&self, below: &str) -> String {
        format!("http://127.0.0.1:{}{below}", self.port)
    }

    /// nginx with these directives in its `server`.
    fn nginx(machine: &Machine, server: &str) -> Option<Self> {
        let port = free_port();
        Server::start(machine, "nginx", port, &|home| {
            let at = home.display();
            let config = format!(
                "daemon off; pid {at}/pid; error_log stderr; worker_processes 1;\n\
                 events {{ worker_connections 256; }}\n\
                 http {{ access_log off; client_body_temp_path {at}/a; proxy_temp_path {at}/b; fastcgi_temp_path {at}/c;\n\
                 uwsgi_temp_path {at}/d; scgi_temp_path {at}/e;\n\
                 proxy_cache_path {at}/cache keys_zone=all:8m;\n\
                 server {{ listen 127.0.0.1:{port}; {server} }} }}\n"
            );
            std::fs::write(home.join("nginx.conf"), config).unwrap();
            vec!["-c".to_owned(), format!("{at}/nginx.conf"), "-p".to_owned(), at.to_string()]
        })
    }

    fn varnish(machine: &Machine) -> Option<Self> {
        let (port, backend) = (free_port(), machine.hub.endpoint().replace("http://", ""));
        Server::start(machine, "varnishd", port, &|home| {
            let words = format!("-F -j none -a 127.0.0.1:{port} -b {backend} -s malloc,64m -n");
            words.split(' ').map(str::to_owned).chain([home.display().to_string()]).collect()
        })
    }

    /// squid with these lines in its configuration; `PORT` is replaced by its own port.
    fn squid(machine: &Machine, lines: &str) -> Option<Self> {
        let port = free_port();
        Server::start(machine, "squid", port, &|home| {
            let at = home.display();
            let lines = lines.replace("PORT", &port.to_string());
            let config = format!(
                "{lines}\nhttp_access allow all\ncache_mem 64 MB\nmaximum_object_size_in_memory 32 MB\n\
                 access_log none\ncache_log {at}/log\npid_filename none\ncoredump_dir {at}\nshutdown_lifetime 0 seconds\n\
                 pinger_enable off\nvisible_hostname here\nnetdb_filename none\n"
            );
            std::fs::write(home.join("squid.conf"), config).unwrap();
            ["-N", "-f"].map(str::to_owned).into_iter().chain([format!("{at}/squid.conf")]).collect()
        })
    }
}

/// A Hub whose listings have several pages, with a model of many files and one whose bytes come in parts.
fn machine() -> Machine {
    let options = Options { page_size: 3, ..Options::default() };
    Machine::on(Hub::with(options, [fixture(CHATGLM), one_file(12 << 20), gated()]))
}

fn gated() -> Repo {
    Repo::new("org/gated")
        .file("config.json", "{}")
        .lfs("model.safetensors", safetensors("w", 5000))
        .access(Access::Gated)
}

/// Runs with the default timeouts, since these servers are slow.
fn run(machine: &Machine, words: &[&str]) -> Run {
    machine.bare().args(words).output().unwrap().into()
}

/// Checks that everything comes right through a server, twice, and that a wrong byte behind it is found.
#[track_caller]
fn serves(machine: &Machine, endpoint: &str) {
    for (id, repo) in [(CHATGLM, fixture(CHATGLM)), ("org/one", one_file(12 << 20))] {
        for _ in 0..2 {
            run(machine, &[id, "--all", "--endpoint", endpoint]).ends_with(0).says("against=hub");
            machine.assert_nothing_wrong(&repo);
            run(machine, &["verify", id, "--all", "--endpoint", endpoint]).ends_with(0).says("against=hub");
            std::fs::remove_dir_all(machine.model(id)).unwrap();
        }
    }
    run(machine, &["org/none", "--endpoint", endpoint]).ends_with(3).says("was not found");
}

#[track_caller]
fn with_token(machine: &Machine, endpoint: &str) {
    let with = |token: bool| -> Run {
        let mut command = machine.bare();
        if token {
            command.env("HF_TOKEN", TOKEN);
        }
        command.args(["org/gated", "--endpoint", endpoint]).output().unwrap().into()
    };
    with(false).ends_with(3).says("you have no access to org/gated");
    with(true).ends_with(0);
}

#[track_caller]
fn compare(machine: &Machine, mirror: &str, code: i32) -> Run {
    let mut command = machine.bare();
    command.args(["compare", CHATGLM, "org/one", "--level", "full", "--retry-base-ms", "5", "--mirror", mirror]);
    Run::from(command.output().unwrap()).ends_with(code)
}

#[test]
fn nginx_that_passes_everything_on() {
    let machine = machine();
    let passes = format!("location / {{ proxy_pass {}; }}", machine.hub.endpoint());
    let Some(nginx) = Server::nginx(&machine, &passes) else { return };
    serves(&machine, &nginx.url(""));
    with_token(&machine, &nginx.url(""));
    compare(&machine, &nginx.url(""), 0);
    machine.hub.fault(Fault::new(Place::Bytes, Kind::CorruptByte(900)).on("*.safetensors"));
    run(&machine, &["org/one", "--force", "--endpoint", &nginx.url("")]).ends_with(1).says("checksum-mismatch");
    compare(&machine, &nginx.url(""), 1);
}

#[test]
fn nginx_below_a_path() {
    let machine = machine();
    let below = format!(
        "location /some/hub/ {{ proxy_pass {}/; proxy_redirect default; proxy_redirect / /some/hub/; }}",
        machine.hub.endpoint()
    );
    let Some(nginx) = Server::nginx(&machine, &below) else { return };
    serves(&machine, &nginx.url("/some/hub"));
    with_token(&machine, &nginx.url("/some/hub/"));
    compare(&machine, &nginx.url("/some/hub"), 0);
}

/// A usual mirror that keeps files: the mirror follows redirects, and keeps the files behind them.
#[test]
fn nginx_that_follows_redirects_and_keeps_what_comes() {
    let machine = machine();
    let keeps = format!(
        "proxy_cache all; proxy_cache_key $request_method$request_uri; proxy_cache_valid 200 10m; proxy_cache_convert_head off;\n\
         proxy_http_version 1.1; proxy_intercept_errors on;\n\
         location / {{ proxy_pass {hub}; error_page 301 302 307 = @elsewhere; }}\n\
         location @elsewhere {{ set $to $upstream_http_location; if ($to ~ ^/) {{ set $to {hub}$to; }}\n\
         proxy_pass $to; proxy_set_header Authorization \"\"; }}",
        hub = machine.hub.endpoint()
    );
    let Some(nginx) = Server::nginx(&machine, &keeps) else { return };
    serves(&machine, &nginx.url(""));
    // Kept bytes come without the Hub, also on a new machine.
    let before = machine.hub.bytes_sent();
    run(&machine, &["org/one", "--all", "--endpoint", &nginx.url("")]).ends_with(0);
    assert_eq!(machine.hub.bytes_sent(), before);
    compare(&machine, &nginx.url(""), 0);
    // A wrong byte in the mirror's cache is found.
    let mut kept = Vec::new();
    let mut folders = vec![nginx.home.join("cache")];
    while let Some(folder) = folders.pop() {
        for item in std::fs::read_dir(folder).unwrap().flatten() {
            if item.path().is_dir() { folders.push(item.path()) } else { kept.push(item.path()) }
        }
    }
    let mut wrong = 0;
    for file in kept.iter().filter(|file| file.metadata().unwrap().len() > 12 << 20) {
        let mut content = std::fs::read(file).unwrap();
        *content.last_mut().unwrap() ^= 1;
        std::fs::write(file, content).unwrap();
        wrong += 1;
    }
    assert!(wrong > 0, "{kept:?}");
    run(&machine, &["org/one", "--force", "--endpoint", &nginx.url("")]).ends_with(1).says("checksum-mismatch");
    compare(&machine, &nginx.url(""), 1);
}

#[test]
fn varnish() {
    let machine = machine();
    let Some(varnish) = Server::varnish(&machine) else { return };
    serves(&machine, &varnish.url(""));
    with_token(&machine, &varnish.url(""));
    compare(&machine, &varnish.url(""), 0);
}

#[test]
fn squid_in_front_of_the_hub() {
    let machine = machine();
    let hub = machine.hub.endpoint();
    let port = hub.rsplit(':').next().unwrap();
    let lines = format!(
        "http_port 127.0.0.1:PORT accel defaultsite=127.0.0.1:PORT no-vhost\n\
         cache_peer 127.0.0.1 parent {port} 0 no-query originserver login=PASSTHRU"
    );
    let Some(squid) = Server::squid(&machine, &lines) else { return };
    serves(&machine, &squid.url(""));
    with_token(&machine, &squid.url(""));
    compare(&machine, &squid.url(""), 0);
}

/// A company's proxy: all requests go through it, including bytes.
#[test]
fn squid_on_the_way_to_the_hub() {
    let machine = machine();
    let Some(squid) = Server::squid(&machine, "http_port 127.0.0.1:PORT") else { return };
    let through = |words: &[&str]| -> Run {
        let mut command = machine.bare();
        command.env("HTTP_PROXY", squid.url("")).args(words).output().unwrap().into()
    };
    for (id, repo) in [(CHATGLM, fixture(CHATGLM)), ("org/one", one_file(12 << 20))] {
        through(&[id, "--all"]).ends_with(0).says("against=hub");
        machine.assert_nothing_wrong(&repo);
    }
    through(&["org/none"]).ends_with(3).says("was not found");
}

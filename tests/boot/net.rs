//! `bootling run --net`: the user-mode network, published ports, and mistakes.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::thread;
use std::time::Duration;

use crate::support::{Kernel, Program};

#[test]
fn the_network_is_up_before_the_command_starts_cold_and_warm() {
    let test = "the_network_is_up_before_the_command_starts";
    let server = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = server.local_addr().expect("an address").port();
    let echo = thread::spawn(move || {
        for _ in 0..3 {
            let (mut stream, _) = server.accept().expect("a guest");
            let mut bytes = [0; 6];
            stream.read_exact(&mut bytes).expect("its text");
            stream.write_all(&bytes).expect("an echo");
        }
    });
    let line = format!(
        "set -e; ip -o -4 a show eth0 | awk '{{print $4}}'; ip r | grep default; cat /etc/resolv.conf; echo hello | nc 10.0.2.2 {port}"
    );
    for warm in ["--warm=no", "--warm", "--warm"] {
        let Some(program) = Program::run(Kernel::Cloud612, test) else { return };
        let (done, verdict) = program.args(["--net", "user", warm]).json(["--run", &line]);
        let says = "10.0.2.15/24\ndefault via 10.0.2.2 dev eth0 \nnameserver 10.0.2.3\nhello\n";
        assert_eq!(done.exits(0).text(), says);
        assert_eq!(verdict["net"]["backend"], "user", "{verdict}");
        let command = verdict["qemu"]["command"].to_string();
        assert!(command.contains("\"-sandbox\",\"on,"), "{command}");
    }
    echo.join().expect("three echoes");
}

#[test]
fn published_ports_reach_the_guest() {
    let test = "published_ports_reach_the_guest";
    let free = || TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("an address").port();
    for (warm, kernel) in [("--warm=no", Kernel::Generic612), ("--warm", Kernel::Cloud612)] {
        let port = free();
        let Some(program) = Program::run(kernel, test) else { return };
        let publish = [format!("{port}:7"), format!("{port}:7/udp")];
        // busybox's nc has no UDP; these functions of perl need no modules.
        let udp_echo = r#"socket(S, 2, 2, 17); bind(S, pack("S n a4 x8", 2, 7, "\0\0\0\0")) or die $!; $| = 1; print "up\n";
            while ($peer = recv(S, $text, 99, 0)) { send(S, $text, 0, $peer) }"#;
        let line = format!("perl -e '{udp_echo}' & nc -l -p 7 -e cat");
        let program =
            program.args(["--publish", &publish[0], "--publish", &publish[1], warm, "--with", "perl", "--run", &line]);
        let (running, _stdin) = program.start_with_input();
        running.wait_for_output("up");
        let udp = UdpSocket::bind("127.0.0.1:0").expect("a socket");
        udp.set_read_timeout(Some(Duration::from_secs(2))).expect("set");
        let mut bytes = [0; 4];
        // Datagrams may be lost while the guest's server starts.
        let answered = (0..10).any(|_| {
            udp.send_to(b"ping", ("127.0.0.1", port)).expect("sent");
            udp.recv(&mut bytes).is_ok()
        });
        assert!(answered, "{warm}");
        let mut tcp = TcpStream::connect(("127.0.0.1", port)).expect("published");
        tcp.write_all(b"pong").expect("sent");
        tcp.read_exact(&mut bytes).expect("an echo");
        assert_eq!(&bytes, b"pong");
        drop(tcp);
        running.done().exits(0);
    }
}

#[test]
fn a_port_of_the_host_is_chosen_if_it_is_left_open() {
    let test = "a_port_of_the_host_is_chosen";
    for warm in ["--warm=no", "--warm"] {
        let Some(program) = Program::run(Kernel::Cloud612, test) else { return };
        let (done, verdict) = program.args(["--publish", "0:80", warm]).json(["--run", "true"]);
        let published = verdict["net"]["publish"][0].as_str().expect("a port");
        let (host, guest) = published.rsplit_once(':').expect("two ports");
        assert!(!host.ends_with(":0") && guest == "80", "{published}");
        done.exits(0).says(&format!("TCP port 80 of the guest is published on {host}\n"));
    }
}

#[test]
fn there_is_no_network_by_default_and_mistakes_are_refused() {
    let test = "there_is_no_network_by_default";
    let Some(program) = Program::run(Kernel::Cloud612, test) else { return };
    assert_eq!(program.args(["--run", "ls /sys/class/net"]).done().exits(0).text(), "lo\n");
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let publish = format!("{}:80", taken.local_addr().expect("an address").port());
    for (options, reason) in [
        (vec!["--publish", &publish], format!("invalid --publish 127.0.0.1:{publish}: failed to listen on 127.0.0.1:")),
        (vec!["--publish", "80"], "such as 8080:80".to_owned()),
        (vec!["--net", "none", "--publish", "8080:80"], "only --net user publishes ports".to_owned()),
        (vec!["--net", "user,hostfwd=tcp::1-:2"], "hostfwd is set by bootling".to_owned()),
        (vec!["--net", "user,mac=1"], "invalid MAC address".to_owned()),
        (vec!["--net", "uname"], "no network backend \"uname\": expected user, none, or one of".to_owned()),
        (vec!["-M", "isapc", "--net", "user"], "machine type isapc has no virtio bus".to_owned()),
    ] {
        let program = Program::run(Kernel::Cloud612, test).expect("as before");
        let done = program.args(&options).args(["--run", "true"]).done().exits(125);
        assert!(done.stderr.contains(&reason), "{options:?}: {}", done.stderr);
    }
}

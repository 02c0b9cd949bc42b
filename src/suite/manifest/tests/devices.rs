//! Disks and networks in manifests.

use expect_test::expect;

use super::{errors, parse};

#[test]
fn disks_and_networks_are_read_and_images_are_relative_to_the_manifest() {
    let text = r#"
        [defaults]
        disks = "64M,bus=scsi"
        net = "user,restrict=on"
        [[test]]
        name = "a"
        run = "x"
        disks = ["x,,y.img,ro", "/z.img"]
        publish = "8080:80"
        [[test]]
        name = "b"
        run = "x"
        net = "none"
    "#;
    let spec = parse(text).expect("a manifest");
    let [a, b] = &spec.tests[..] else { panic!("{:?}", spec.tests) };
    let disks: Vec<String> = a.disks.iter().map(ToString::to_string).collect();
    assert_eq!(disks, ["64M,bus=scsi", "dir/x,,y.img,ro", "/z.img"]);
    let net = a.network().expect("an interface");
    assert_eq!((net.to_string(), net.publish.len()), ("user,restrict=on".to_owned(), 1));
    let none = b.network().expect("a request");
    assert_eq!((b.disks.len(), none.backend), (1, None));
}

#[test]
fn mistakes_are_reported_with_their_positions() {
    errors(
        "[[test]]\nname = 'a'\nrun = 'x'\ndisks = '0'\nnet = 'usr'\n[[test]]\nname = 'b'\nrun = 'x'\nnet = 'none'\npublish = '1:2'\n",
        &expect![[r#"
            bootling.toml:4:9: disks: invalid size 0: expected 1 byte to 16T, such as 64M or 1G
             4 | disks = '0'
               |         ^^^
            bootling.toml:5:7: net: no network backend "usr": expected user, none, or one of QEMU's -netdev: socket, stream, dgram, tap, bridge, hubport, l2tpv3, vde, netmap, af-xdp, passt, vhost-user, vhost-vdpa
             5 | net = 'usr'
               |       ^^^^^
            bootling.toml:10:1: publish: only net = "user" publishes ports
             10 | publish = '1:2'
                | ^^^^^^^
        "#]],
    );
}

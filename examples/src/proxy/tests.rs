use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    time::{Instant, timeout},
};

use super::*;

const SOON: Duration = Duration::from_secs(10);
/// Long enough for what would come at once, had it not been held back.
const SHORT: Duration = Duration::from_millis(100);

/// A proxy, the server behind it, and one connection through both.
struct Path {
    proxy: Proxy,
    server: TcpListener,
    near: TcpStream,
    far: TcpStream,
}

async fn path() -> Path {
    let server = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let proxy = Proxy::start(server.local_addr().unwrap()).unwrap();
    let mut near = TcpStream::connect(proxy.address()).await.unwrap();
    let mut far = accept(&server).await;
    // The kernel accepts for the server before the proxy knows that it has.
    near.write_all(b".").await.unwrap();
    receive(&mut far, ".").await;
    Path {
        proxy,
        server,
        near,
        far,
    }
}

async fn accept(server: &TcpListener) -> TcpStream {
    timeout(SOON, server.accept()).await.unwrap().unwrap().0
}

async fn receive(stream: &mut TcpStream, wanted: &str) {
    let mut got = vec![0; wanted.len()];
    timeout(SOON, stream.read_exact(&mut got))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(String::from_utf8(got).unwrap(), wanted);
}

async fn assert_silent(stream: &mut TcpStream) {
    let read = timeout(SHORT, stream.read(&mut [0; 1])).await;
    assert!(read.is_err(), "{read:?}");
}

async fn assert_reset(stream: &mut TcpStream) {
    let read = timeout(SOON, stream.read(&mut [0; 1])).await.unwrap();
    assert_eq!(read.unwrap_err().kind(), io::ErrorKind::ConnectionReset);
}

async fn eventually(condition: impl Fn() -> bool) {
    let until = Instant::now() + SOON;
    while !condition() {
        assert!(Instant::now() < until, "it did not come to be");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn bytes_go_both_ways_and_a_farewell_too() {
    let mut path = path().await;
    path.near.write_all(b"question").await.unwrap();
    receive(&mut path.far, "question").await;
    path.far.write_all(b"answer").await.unwrap();
    receive(&mut path.near, "answer").await;
    assert_eq!((path.proxy.accepted(), path.proxy.open()), (1, 1));

    // Each side by itself: who has said farewell may still be told something.
    path.near.shutdown().await.unwrap();
    assert_eq!(path.far.read(&mut [0; 1]).await.unwrap(), 0);
    path.far.write_all(b"last words").await.unwrap();
    receive(&mut path.near, "last words").await;
    drop(path.far);
    assert_eq!(path.near.read(&mut [0; 1]).await.unwrap(), 0);
    eventually(|| path.proxy.open() == 0).await;
    assert_eq!(path.proxy.accepted(), 1);
}

#[tokio::test]
async fn what_is_larger_than_what_may_be_on_the_way_arrives_whole() {
    let Path {
        mut near,
        mut far,
        proxy,
        ..
    } = path().await;
    proxy.set_latency(Duration::from_millis(1), Duration::ZERO);
    let sent: Vec<u8> = (0..4_000_000_u32).map(|n| n.to_le_bytes()[1]).collect();
    let expected = sent.clone();
    let sending = async move {
        near.write_all(&sent).await.unwrap();
        near.shutdown().await.unwrap();
        near
    };
    let receiving = async {
        let mut received = Vec::new();
        far.read_to_end(&mut received).await.unwrap();
        received
    };
    let (_near, received) = timeout(SOON, async { tokio::join!(sending, receiving) })
        .await
        .unwrap();
    assert!(received == expected);
}

#[tokio::test]
async fn latency_delays_the_direction_it_is_set_for() {
    let mut path = path().await;
    let latency = Duration::from_millis(150);
    path.proxy.set_latency(Duration::ZERO, latency);

    let began = Instant::now();
    path.near.write_all(b"question").await.unwrap();
    receive(&mut path.far, "question").await;
    let there = began.elapsed();
    let began = Instant::now();
    path.far.write_all(b"answer").await.unwrap();
    receive(&mut path.near, "answer").await;
    let back = began.elapsed();
    assert!(back >= latency, "{back:?}");
    assert!(there < back, "{there:?} {back:?}");
}

#[tokio::test]
async fn held_bytes_and_farewells_arrive_when_it_forwards_again() {
    let mut path = path().await;
    path.proxy.hold().await;
    path.near.write_all(b"question").await.unwrap();
    path.near.shutdown().await.unwrap();
    assert_silent(&mut path.far).await;

    path.proxy.forward().await;
    receive(&mut path.far, "question").await;
    assert_eq!(path.far.read(&mut [0; 1]).await.unwrap(), 0);
}

#[tokio::test]
async fn while_it_holds_it_accepts_and_the_server_hears_nothing() {
    let path = path().await;
    path.proxy.hold().await;
    let mut late = TcpStream::connect(path.proxy.address()).await.unwrap();
    late.write_all(b"hello").await.unwrap();
    eventually(|| path.proxy.accepted() == 2).await;
    assert!(timeout(SHORT, path.server.accept()).await.is_err());

    path.proxy.forward().await;
    receive(&mut accept(&path.server).await, "hello").await;
}

#[tokio::test]
async fn a_shut_port_refuses_keeps_what_is_open_and_opens_at_the_same_address() {
    let mut path = path().await;
    path.proxy.refuse().await;
    for _ in 0..3 {
        let error = TcpStream::connect(path.proxy.address()).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
    }
    path.near.write_all(b"still here").await.unwrap();
    receive(&mut path.far, "still here").await;

    path.proxy.forward().await;
    TcpStream::connect(path.proxy.address()).await.unwrap();
    accept(&path.server).await;
    assert_eq!(path.proxy.accepted(), 2);
}

#[tokio::test]
async fn a_cut_resets_both_sides_and_spares_who_comes_after() {
    let mut path = path().await;
    path.proxy.cut();
    assert_reset(&mut path.near).await;
    assert_reset(&mut path.far).await;
    eventually(|| path.proxy.open() == 0).await;

    let mut next = TcpStream::connect(path.proxy.address()).await.unwrap();
    next.write_all(b"hello").await.unwrap();
    receive(&mut accept(&path.server).await, "hello").await;
}

#[tokio::test]
async fn a_cut_reaches_those_who_are_held_and_those_who_are_half_open() {
    let mut path = path().await;
    path.proxy.half_open();
    assert_eq!(path.far.read(&mut [0; 1]).await.unwrap(), 0);
    path.proxy.hold().await;
    let mut held = TcpStream::connect(path.proxy.address()).await.unwrap();
    eventually(|| path.proxy.open() == 2).await;
    path.proxy.cut();
    assert_reset(&mut path.near).await;
    assert_reset(&mut held).await;
}

#[tokio::test]
async fn a_half_open_connection_is_gone_for_the_server_and_silent_for_the_client() {
    let mut path = path().await;
    path.proxy.half_open();
    assert_eq!(path.far.read(&mut [0; 1]).await.unwrap(), 0);
    path.near.write_all(b"is anybody there?").await.unwrap();
    assert_silent(&mut path.near).await;
    assert_eq!(path.proxy.open(), 1);

    let mut next = TcpStream::connect(path.proxy.address()).await.unwrap();
    next.write_all(b"hello").await.unwrap();
    receive(&mut accept(&path.server).await, "hello").await;
    drop(path.near);
    eventually(|| path.proxy.open() == 1).await;
}

#[tokio::test]
async fn another_target_gets_new_connections_and_the_old_ones_stay() {
    let mut path = path().await;
    let other = TcpListener::bind("127.0.0.1:0").await.unwrap();
    path.proxy.set_target(other.local_addr().unwrap());
    let mut next = TcpStream::connect(path.proxy.address()).await.unwrap();
    next.write_all(b"new").await.unwrap();
    receive(&mut accept(&other).await, "new").await;
    path.near.write_all(b"old").await.unwrap();
    receive(&mut path.far, "old").await;
}

#[tokio::test]
async fn a_client_whose_server_is_down_is_counted_and_reset() {
    let path = path().await;
    drop(path.server);
    for dials in 2..5 {
        let mut client = TcpStream::connect(path.proxy.address()).await.unwrap();
        assert_reset(&mut client).await;
        assert_eq!(path.proxy.accepted(), dials);
    }
}

#[tokio::test]
async fn dropping_it_closes_its_port_and_its_connections() {
    let mut path = path().await;
    let address = path.proxy.address();
    drop(path.proxy);
    assert_eq!(path.near.read(&mut [0; 1]).await.unwrap(), 0);
    assert_eq!(path.far.read(&mut [0; 1]).await.unwrap(), 0);
    assert!(TcpStream::connect(address).await.is_err());
}

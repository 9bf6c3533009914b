//! The floor: what a plain, competent byte copy costs, which no gateway can be cheaper than. It
//! understands nothing of what it copies.

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};

pub fn run(listen: &str, upstream: &str) {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime")
        .block_on(serve(listen, upstream.to_owned()));
}

async fn serve(listen: &str, upstream: String) {
    let listener = TcpListener::bind(listen).await.expect("an address to listen at");
    loop {
        let (client, _) = listener.accept().await.expect("a client");
        let upstream = upstream.clone();
        tokio::spawn(async move {
            if let Err(error) = relay(client, &upstream).await {
                eprintln!("floor: {error}");
            }
        });
    }
}

async fn relay(mut client: TcpStream, upstream: &str) -> std::io::Result<()> {
    let mut server = TcpStream::connect(upstream).await?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    copy_bidirectional(&mut client, &mut server).await?;
    Ok(())
}

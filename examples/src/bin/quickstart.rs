//! A breaker around a call, in twenty lines.

use std::io::{self, Write};

use resilience_core::{BreakerConfig, CallError, CircuitBreaker};

#[tokio::main(flavor = "current_thread")]
async fn main() -> io::Result<()> {
    let breaker = CircuitBreaker::new("payment_api", BreakerConfig::default());
    for attempt in 1..=25 {
        let line = match breaker.call(ask_the_provider()).await {
            Ok(rate) => format!("rate {rate}"),
            Err(CallError::Inner(error)) => format!("failed: {error}"),
            Err(refused) => format!("refused: {refused}"),
        };
        writeln!(io::stdout(), "{attempt:2} {} {line}", breaker.state())?;
    }
    Ok(())
}

async fn ask_the_provider() -> io::Result<f64> {
    Err(io::Error::from(io::ErrorKind::ConnectionRefused))
}

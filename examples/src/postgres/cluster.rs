//! Filling the data directory of a server.

use std::time::Instant;

use super::{
    KNOCK, Purpose, StartError, TEMPLATE1, TemporaryPostgres, USER, connect, template::Template,
};

impl TemporaryPostgres {
    /// Makes a cluster that has its database: a copy of the one that is kept,
    /// or one from nothing, which is kept then.
    pub(super) async fn fill(&mut self) -> Result<(), StartError> {
        let Some(template) = Template::of(&self.installation, &self.options.database) else {
            return self.make().await;
        };
        let until = Instant::now() + self.options.start_deadline;
        loop {
            if self.copy(&template)? {
                return Ok(());
            }
            match template.try_turn() {
                Ok(Some(turn)) => {
                    // It may have been made between the question and our turn.
                    if !self.copy(&template)? {
                        self.make().await?;
                        // We have ours; whether it is kept is the next one's concern.
                        let _ = template.keep(&self.directory.data(), &turn);
                    }
                    return Ok(());
                }
                Ok(None) if Instant::now() < until => tokio::time::sleep(KNOCK).await,
                // Nothing can be kept there, or whoever makes it hangs.
                Ok(None) | Err(_) => return self.make().await,
            }
        }
    }

    fn copy(&self, template: &Template) -> Result<bool, StartError> {
        let data = self.directory.data();
        template
            .copy_to(&data, self.installation.account)
            .map_err(|error| StartError::Directory {
                problem: format!("cannot copy a cluster into it: {error}"),
                path: data,
            })
    }

    /// Makes it from nothing.
    async fn make(&mut self) -> Result<(), StartError> {
        self.initialise().await?;
        self.launch(Purpose::Prepare).await?;
        self.make_database().await?;
        self.stop().await
    }

    /// Runs `initdb` on the data directory.
    async fn initialise(&self) -> Result<(), StartError> {
        let initdb = self
            .program("initdb")
            .args(["--username", USER, "--auth", "trust", "--encoding", "UTF8"])
            // `--locale C` sorts by bytes, alike on every machine.
            .args([
                "--locale",
                "C",
                "--no-instructions",
                "--no-sync",
                "--pgdata",
            ])
            .arg(self.directory.data())
            .spawn()?;
        let status = initdb
            .wait_exit(self.options.start_deadline)
            .await
            .map_err(StartError::Initialise)?;
        if status.success() {
            Ok(())
        } else {
            let how = crate::process::describe(status);
            Err(StartError::Initialise(
                initdb.error(format!("failed ({how})")),
            ))
        }
    }

    /// Leaves two databases, ours and `template1`: each is some three hundred
    /// files, which is what a copy costs.
    async fn make_database(&self) -> Result<(), StartError> {
        let name = &self.options.database;
        // Quoted as an identifier: any name is a name, none is a statement.
        let quoted = format!("\"{}\"", name.replace('"', "\"\""));
        let client = connect(&self.url_of(TEMPLATE1)).await?;
        let mut statements = vec![
            // For databases of another encoding, which nobody makes here.
            "UPDATE pg_database SET datistemplate = false WHERE datname = 'template0'".to_owned(),
            "DROP DATABASE template0".to_owned(),
        ];
        if name != USER {
            statements.push(format!("ALTER DATABASE {USER} RENAME TO {quoted}"));
        }
        for statement in statements {
            // One by one: a database is not dropped inside a transaction.
            client.batch_execute(&statement).await?;
        }
        if self.installation.has_statements {
            let client = connect(&self.url()).await?;
            client
                .batch_execute("CREATE EXTENSION IF NOT EXISTS pg_stat_statements")
                .await?;
        }
        Ok(())
    }
}

//! The Redis: what it has spent on calls, and how much memory it uses. This module never knows what the scripts do.

use anyhow::{Context, Result};
use redis::{Client, Connection, Pipeline, Value, cmd};

/// A connection to the Redis, and the way to open others.
pub struct Redis {
    client: Client,
    connection: Connection,
}

/// What one call cost, in microseconds.
#[derive(Clone, Copy, Debug, Default)]
pub struct Cost {
    /// The time in the script by Redis's own clock. It includes the time for which the kernel ran something else.
    pub script_us: f64,
    /// CPU of the main thread: the script, the reading of the arguments and the writing of the answer.
    pub cpu_us: f64,
}

impl Redis {
    /// Connects.
    ///
    /// # Errors
    /// If nothing answers there.
    pub fn connect(url: &str) -> Result<Self> {
        let client = Client::open(url)?;
        let connection = client.get_connection().context("failed to connect to redis-server")?;
        Ok(Self { client, connection })
    }

    /// Another connection.
    ///
    /// # Errors
    /// If it is refused.
    pub fn another(&self) -> Result<Connection> {
        Ok(self.client.get_connection()?)
    }

    /// Loads a script; returns its name for calls.
    ///
    /// # Errors
    /// If Redis refuses it.
    pub fn load(&mut self, source: &str) -> Result<String> {
        Ok(cmd("SCRIPT").arg("LOAD").arg(source).query(&mut self.connection)?)
    }

    /// Calls a script.
    ///
    /// # Errors
    /// If it ends with an error.
    pub fn call(&mut self, script: &str, keys: &[String], arguments: &[String]) -> Result<Value> {
        let mut call = cmd("EVALSHA");
        call.arg(script).arg(keys.len()).arg(keys).arg(arguments);
        Ok(call.query(&mut self.connection)?)
    }

    /// Sends commands together, and waits for all answers.
    ///
    /// # Errors
    /// If one ends with an error.
    pub fn send(&mut self, commands: &Pipeline) -> Result<()> {
        Ok(commands.exec(&mut self.connection)?)
    }

    /// Removes all data.
    ///
    /// # Errors
    /// If that is refused.
    pub fn clear(&mut self) -> Result<()> {
        Ok(cmd("FLUSHALL").arg("SYNC").exec(&mut self.connection)?)
    }

    /// How many fields a hash has.
    ///
    /// # Errors
    /// If the key is no hash.
    pub fn fields(&mut self, key: &str) -> Result<usize> {
        Ok(cmd("HLEN").arg(key).query(&mut self.connection)?)
    }

    /// The bytes in use.
    ///
    /// # Errors
    /// If the answer lacks them.
    pub fn used_bytes(&mut self) -> Result<f64> {
        self.number("memory", "used_memory:")
    }

    /// CPU of the main thread since its start, in microseconds.
    ///
    /// # Errors
    /// If the answer lacks it.
    pub fn cpu_us(&mut self) -> Result<f64> {
        let text = self.info("cpu")?;
        let seconds = number_of(&text, "used_cpu_user_main_thread:")?
            + number_of(&text, "used_cpu_sys_main_thread:")?;
        Ok(seconds * 1e6)
    }

    /// The mean cost of the calls that this makes, all of which must be calls of scripts.
    ///
    /// # Errors
    /// If a call fails, or there was none.
    pub fn cost(&mut self, work: impl FnOnce(&mut Self) -> Result<()>) -> Result<Cost> {
        let (calls, time, cpu) = (self.calls()?, self.script_us()?, self.cpu_us()?);
        work(self)?;
        let used = self.cpu_us()? - cpu;
        let (later, made) = (self.script_us()?, self.calls()? - calls);
        anyhow::ensure!(made > 0.0, "nothing was called");
        Ok(Cost { script_us: (later - time) / made, cpu_us: used / made })
    }

    /// CPU of the main thread that this takes, in microseconds.
    ///
    /// # Errors
    /// If it fails.
    pub fn cpu_of(&mut self, work: impl FnOnce(&mut Self) -> Result<()>) -> Result<f64> {
        let start = self.cpu_us()?;
        work(self)?;
        Ok(self.cpu_us()? - start)
    }

    fn calls(&mut self) -> Result<f64> {
        self.of_scripts("calls=")
    }

    fn script_us(&mut self) -> Result<f64> {
        self.of_scripts("usec=")
    }

    fn of_scripts(&mut self, name: &str) -> Result<f64> {
        let text = self.info("commandstats")?;
        let line = text.lines().find_map(|line| line.strip_prefix("cmdstat_evalsha:"));
        let Some(line) = line else { return Ok(0.0) }; // no script was called yet
        let value = line.split(',').find_map(|field| field.strip_prefix(name));
        Ok(value.context("no figure of calls")?.parse()?)
    }

    fn number(&mut self, section: &str, name: &str) -> Result<f64> {
        number_of(&self.info(section)?, name)
    }

    fn info(&mut self, section: &str) -> Result<String> {
        Ok(cmd("INFO").arg(section).query(&mut self.connection)?)
    }
}

fn number_of(text: &str, name: &str) -> Result<f64> {
    let value = text.lines().find_map(|line| line.strip_prefix(name));
    Ok(value.with_context(|| format!("INFO without {name}"))?.trim().parse()?)
}

/// The cost of the quickest quarter of the portions. Others were disturbed: by programs that used the caches or the core.
///
/// # Panics
/// If there are none.
pub fn quickest(costs: &[Cost]) -> Cost {
    let all = |part: fn(&Cost) -> f64| costs.iter().map(part).collect();
    Cost {
        script_us: quickest_quarter(all(|cost| cost.script_us)),
        cpu_us: quickest_quarter(all(|cost| cost.cpu_us)),
    }
}

/// The same of times.
///
/// # Panics
/// If there are none.
pub fn quickest_quarter(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 4]
}

//! The promises of the balancer of docker-compose.yml, tested with its own file.

mod drain;
mod limits;
mod shipped;

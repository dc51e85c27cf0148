//! What the balancer of docker-compose.yml promises, with its own file.

mod drain;
mod limits;
mod shipped;

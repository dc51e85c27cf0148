# Where images cannot be pulled: Debian's packages in their place, in a Debian that has them all (scripts/deploy-test
# makes it). They check our configuration, not the versions that docker-compose.yml names.

FROM debian:bookworm-slim AS redis
RUN mkdir /data && chown redis:redis /data
VOLUME /data
CMD ["redis-server"]

FROM debian:bookworm-slim AS haproxy
USER haproxy
STOPSIGNAL SIGUSR1
CMD ["haproxy", "-W", "-db", "-f", "/usr/local/etc/haproxy/haproxy.cfg"]

FROM debian:bookworm-slim AS prometheus
RUN mkdir /prometheus && chown nobody:nogroup /prometheus
USER nobody
VOLUME /prometheus
ENTRYPOINT ["prometheus"]

# The machine's own toolchain beside Debian's gcc, and all crates in a folder, so that a build needs no network.
FROM debian:bookworm-slim AS rust
ENV CARGO_HOME=/usr/local/cargo
COPY toolchain /usr/local
COPY config.toml /usr/local/cargo/
COPY vendor /vendor

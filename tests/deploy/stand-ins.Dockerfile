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

# A machine that systemd runs. What it would do with a real machine's consoles and clocks is left out.
FROM debian:bookworm-slim AS systemd
RUN apt-get update \
 && apt-get install --yes --no-install-recommends systemd systemd-sysv dbus ca-certificates redis-server \
 && rm -rf /var/lib/apt/lists/* /var/cache/apt \
 && systemctl mask getty.target console-getty.service systemd-logind.service
ENV container=docker
STOPSIGNAL SIGRTMIN+3
CMD ["/sbin/init"]

# The machine's own toolchain beside Debian's gcc, and all crates in a folder, so that a build needs no network.
FROM debian:bookworm-slim AS rust
ENV CARGO_HOME=/usr/local/cargo
COPY toolchain /usr/local
COPY config.toml /usr/local/cargo/
COPY vendor /vendor

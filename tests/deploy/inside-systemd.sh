# What an operator without containers does with the Debian package, on a machine that systemd runs. tests/deploy/systemd.sh
# runs it inside a container; /root/headcount.deb is the package.
#
# It prints "ok - ..." for each thing shown, and ends at the first that is not so.
set -euo pipefail

ok() { printf 'ok - %s\n' "$*"; }
show() { systemctl show --property "$1" --value "$2"; }
metric() { headcount health --admin-listen "$1" --metrics | sed -n "s/^headcount_$2 //p"; }
is_active() { [[ $(systemctl is-active "$1") == active ]]; }

failed() {
  printf 'not ok - line %s: %s\n' "$1" "$2"
  systemctl status --no-pager 'headcount*' || true
  journalctl --no-pager --lines 60 --unit 'headcount*' || true
}
trap 'failed "$LINENO" "$BASH_COMMAND"' ERR

# until_it_is SECONDS COMMAND...
until_it_is() {
  local end=$((SECONDS + $1))
  shift
  until "$@" >/dev/null 2>&1; do
    if ((SECONDS > end)); then
      echo "not within time: $*"
      return 1
    fi
    sleep 0.1
  done
}

# drop_in UNIT LINE...: what "systemctl edit" would write.
drop_in() {
  mkdir -p "/etc/systemd/system/$1.d"
  printf '[Service]\n' >"/etc/systemd/system/$1.d/override.conf"
  printf '%s\n' "${@:2}" >>"/etc/systemd/system/$1.d/override.conf"
  systemctl daemon-reload
}

# The journal may have a line only after the answer to what caused it. All of the journal is read, since journalctl fails if grep
# ends before it.
in_journal() { [[ -n $(journalctl --unit headcount | grep -e "$1") ]]; }
logged() { until_it_is 20 in_journal "$1"; }

restarted_by_systemd() { (($(show NRestarts headcount) > $1)) && is_active headcount; }

# As on a machine; in a container systemd leaves it as it is, and credentials would be mounted where no service sees them.
mount --make-rshared /

apt-get install --yes /root/headcount.deb >/root/installed 2>&1 || { cat /root/installed && false; }
grep 'nothing is started yet' /root/installed >/dev/null
[[ $(systemctl is-active headcount || true) == inactive ]]
[[ $(stat -c '%a %U' /etc/headcount/headcount.env) == '600 root' ]]
ok "the package is installed, and starts nothing by itself"

systemctl enable --quiet --now headcount
headcount health >/dev/null
until_it_is 20 eval '[[ $(show StatusText headcount) == "0 connections here; 0 users in all (exact)" ]]'
pid=$(show MainPID headcount)
[[ $(stat -c %U "/proc/$pid") != root ]]
grep -q '^CapBnd:.0000000000000000$' "/proc/$pid/status"
grep -q '^NoNewPrivs:.1$' "/proc/$pid/status"
ok "systemctl start returns when the instance is ready; it is not root and can never be"

headcount load --url http://127.0.0.1:3000 --connections 50 --rate 100 --hold 1s >/root/load || { cat /root/load && false; }
ok "50 visitors are told the right count"

headcount load --url http://127.0.0.1:3000 --connections 50 --rate 100 --hold 0s --reconnect >/root/load 2>&1 &
visitors=$!
until_it_is 20 eval '[[ $(show StatusText headcount) == "50 connections here; 50 users in all (exact)" ]]'
systemctl stop headcount
[[ $(show Result headcount) == success && $(show ExecMainStatus headcount) == 0 ]]
logged 'all clients have been sent elsewhere'
kill "$visitors"
wait "$visitors" || true
ok "systemctl stop sends the clients elsewhere, and is no failure"

systemctl start headcount
restarts=$(show NRestarts headcount)
kill -KILL "$(show MainPID headcount)"
until_it_is 20 restarted_by_systemd "$restarts"
ok "systemd starts an instance again that was killed"

drop_in headcount.service WatchdogSec=2s
systemctl restart headcount
restarts=$(show NRestarts headcount)
kill -STOP "$(show MainPID headcount)"
until_it_is 30 restarted_by_systemd "$restarts"
ok "an instance that hangs gives no sign of life, and is started again"

drop_in headcount.service MemoryMax=128M LimitNOFILE=1024:4096
systemctl restart headcount
[[ $(metric 127.0.0.1:9100 connections_max) == 481 ]]
logged 'sessions=481 by=.*headcount.service/memory\.'
drop_in headcount.service LimitNOFILE=300:1000
systemctl restart headcount
[[ $(metric 127.0.0.1:9100 connections_max) == 744 ]]
rm -r /etc/systemd/system/headcount.service.d
systemctl daemon-reload
ok "MemoryMax and LimitNOFILE decide how many sessions it takes"

cp /etc/headcount/headcount.env /root/headcount.env
echo HEADCOUNT_HEARTBEAT=soon >>/etc/headcount/headcount.env
if systemctl restart headcount 2>/dev/null; then false; fi
[[ $(show ExecMainStatus headcount) == 2 && $(systemctl is-active headcount || true) == failed ]]
cp /root/headcount.env /etc/headcount/headcount.env
systemctl disable --quiet --now headcount
ok "a setting that is refused is a failure at once, and not tried again"

# As the settings file says.
for secret in jwt visitor; do
  head -c 48 /dev/urandom | base64 >"/etc/headcount/$secret.secret"
  chmod 600 "/etc/headcount/$secret.secret"
done
cp /etc/headcount/headcount.env /root/headcount.env
echo HEADCOUNT_JWT_KEYS=/etc/headcount/jwt.secret >>/etc/headcount/headcount.env
if systemctl start headcount 2>/dev/null; then false; fi
[[ $(show ExecMainStatus headcount) == 2 ]]
logged 'HEADCOUNT_JWT_KEYS is .*there is no file that can be read: Permission denied'
cp /root/headcount.env /etc/headcount/headcount.env
mapfile -t credentials < <(sed -n 's/^#   \(LoadCredential=\|Environment=\)/\1/p' /etc/headcount/headcount.env)
((${#credentials[@]} == 3))
drop_in headcount.service "${credentials[@]}"
systemctl start headcount
logged 'tokens are verified with these keys.*HS256 of "/run/credentials/headcount.service/jwt.secret"'
[[ -z $(journalctl --unit headcount | grep -F "$(cat /etc/headcount/jwt.secret)") ]]
systemctl stop headcount
rm -r /etc/systemd/system/headcount.service.d
systemctl daemon-reload
ok "secrets that only root can read are given to the service as the settings file says"

instances=(headcount@3001 headcount@3002 headcount@3003)
timeout 60 systemctl start "${instances[@]}" &
starting=$!
until_it_is 20 eval '[[ $(show StatusText headcount@3001) == "waiting for the store'\''s first answer"* ]]'
kill -0 "$starting"
# Debian's own unit needs user namespaces, which not every kernel has.
redis-server --daemonize yes --save '' >/dev/null
wait "$starting"
until_it_is 20 eval '[[ $(metric 127.0.0.1:13002 instances) == 3 ]]'
headcount status --redis-url redis://127.0.0.1:6379 | grep -q '^sum 0, count 0 at revision'
ok "three instances wait for their Redis, and are a cluster then"

drop_in headcount@3001.service TimeoutStopSec=1s
begin=$SECONDS
systemctl stop headcount@3001
((SECONDS - begin >= 3))
[[ $(show Result headcount@3001) == success ]]
rm -r /etc/systemd/system/headcount@3001.service.d
systemctl daemon-reload
systemctl start headcount@3001
ok "a drain that takes longer than TimeoutStopSec is not cut short"

until_it_is 20 eval '[[ $(metric 127.0.0.1:13002 instances) == 3 ]]'
before=$(show MainPID "${instances[@]}" | xargs)
headcount-rolling-restart --settle 1 >/root/rolled || { cat /root/rolled && false; }
after=$(show MainPID "${instances[@]}" | xargs)
[[ $(grep -c 'well again' /root/rolled) == 3 ]]
for pid in $before; do [[ " $after " != *" $pid "* ]]; done
ok "headcount-rolling-restart restarts all units that run"

# The port of the second one is taken, which its restart shows.
drop_in headcount@3002.service Environment=HEADCOUNT_LISTEN=127.0.0.1:6379
third=$(show MainPID headcount@3003)
if headcount-rolling-restart --settle 1 >/root/rolled 2>&1; then false; fi
grep -q '^3001: well again' /root/rolled
grep -q '^headcount-rolling-restart: 3002: its restart failed with exit code 1$' /root/rolled
grep -qx 'not restarted: 3003' /root/rolled
[[ $(show MainPID headcount@3003) == "$third" ]] && is_active headcount@3001
# It does not come back, since it does not reach the Redis that it is given now.
drop_in headcount@3002.service 'ExecStart=' 'ExecStart=/usr/bin/headcount --redis-url redis://127.0.0.1:1'
systemctl start --no-block headcount@3002
until_it_is 20 eval '[[ $(show StatusText headcount@3002) == "waiting for the store'\''s first answer"* ]]'
if headcount-rolling-restart --settle 1 --within 3 3002 3003 >/root/rolled 2>&1; then false; fi
grep -qx 'headcount-rolling-restart: 3002 is not ready' /root/rolled
[[ $(show MainPID headcount@3003) == "$third" ]]
rm -r /etc/systemd/system/headcount@3002.service.d
systemctl daemon-reload
systemctl restart headcount@3002
until_it_is 20 eval '[[ $(metric 127.0.0.1:13001 instances) == 3 ]]'
after=$(show MainPID "${instances[@]}" | xargs)
ok "headcount-rolling-restart stops at an instance that does not come back, and leaves the others as they are"

systemctl enable --quiet headcount@3001
echo '# of the operator' >>/etc/headcount/cluster.env
apt-get install --yes --reinstall /root/headcount.deb >/root/installed 2>&1 || { cat /root/installed && false; }
grep 'headcount-rolling-restart' /root/installed >/dev/null
[[ $(show MainPID "${instances[@]}" | xargs) == "$after" ]]
grep -q '^# of the operator' /etc/headcount/cluster.env
ok "an upgrade leaves instances and settings as they are"

apt-get remove --yes headcount >/root/removed 2>&1 || { cat /root/removed && false; }
for pid in $after; do [[ ! -e /proc/$pid ]]; done
[[ -e /etc/headcount/cluster.env ]]
# What "systemctl edit" writes for one instance and for all.
drop_in headcount@3001.service MemoryMax=1G
drop_in headcount@.service MemoryMax=1G
apt-get purge --yes headcount >/root/removed 2>&1 || { cat /root/removed && false; }
left=$(find / -xdev \( -path /proc -o -path /sys -o -path /root -o -path /var/log \) -prune -o -name '*headcount*' -print)
[[ -z $left ]] || { echo "$left" && false; }
ok "removing ends the instances and keeps the settings; purging leaves nothing"

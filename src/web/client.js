// The page's script: shows what the server says. Written as the lesson has it; `headcount()` comes from
// headcount.js and stands where the lesson has `io()`.
const socket = headcount();

socket.on('user count', function (data) {
  console.log(data);
  document.getElementById('count').textContent = data.toLocaleString();
});

socket.on('state', function (state) {
  document.getElementById('state').textContent = state;
});

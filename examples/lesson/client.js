/* global io */
const socket = io();

socket.on('user count', (data) => {
  console.log(data);
});

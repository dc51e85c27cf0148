// The snippets of code: they name this server's address, and each has a button that copies it.

const { message } = globalThis.messages;
const PLACEHOLDER = 'https://count.example';
const SAY_SO_MS = 2000;

// `home` is the address of this page, without a slash at its end.
export function copyButtons(home) {
  for (const button of document.querySelectorAll('[data-copies]')) {
    const code = document.getElementById(button.dataset.copies);
    code.textContent = code.textContent.replaceAll(PLACEHOLDER, home);
    button.addEventListener('click', async function () {
      const isCopied = (await write(code.textContent)) || select(code);
      button.textContent = message(isCopied ? 'copied' : 'copy-by-hand');
      button.classList.toggle('done', isCopied);
      setTimeout(function () {
        button.textContent = message('copy');
        button.classList.remove('done');
      }, SAY_SO_MS);
    });
  }
}

async function write(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    return false;
  }
}

// Without TLS browsers deny pages the clipboard. The old way still works, or at least leaves the text selected.
function select(element) {
  getSelection().selectAllChildren(element);
  return document.execCommand('copy');
}

// The snippets: they name this very server, and each has a button that copies it.

const PLACEHOLDER = 'https://count.example';
const SAY_SO_MS = 2000;

export function copyButtons(origin) {
  for (const button of document.querySelectorAll('[data-copies]')) {
    const code = document.getElementById(button.dataset.copies);
    code.textContent = code.textContent.replaceAll(PLACEHOLDER, origin);
    button.addEventListener('click', async function () {
      const isCopied = (await write(code.textContent)) || select(code);
      button.textContent = isCopied ? 'Copied' : 'Press Ctrl+C';
      button.classList.toggle('done', isCopied);
      setTimeout(function () {
        button.textContent = 'Copy';
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

// Without TLS browsers keep the clipboard from pages; the old way still works, or leaves the text selected.
function select(element) {
  getSelection().selectAllChildren(element);
  return document.execCommand('copy');
}

// Requests to the server. An answer that is no success becomes an Error with the server's own sentence.

export async function get(path) {
  return answered(await reached(path, {}));
}

export async function post(path, body, signal) {
  const options = { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(body), signal };
  return answered(await reached(path, options));
}

export async function remove(path, body) {
  const options = { method: "DELETE", headers: { "content-type": "application/json" }, body: JSON.stringify(body) };
  return answered(await reached(path, options));
}

async function reached(path, options) {
  try {
    const answer = await fetch(path, { credentials: "same-origin", ...options });
    document.body.classList.remove("offline");
    return answer;
  } catch (error) {
    if (error.name === "AbortError") throw error;
    document.body.classList.add("offline");
    throw new Error("The server does not answer. The results stay as they are; the search goes on when it is back.");
  }
}

async function answered(answer) {
  if (answer.ok) return answer.json();
  let message = `The server answered ${answer.status}.`;
  try {
    message = (await answer.json()).error.message;
  } catch {
    /* the answer is no JSON */
  }
  const error = new Error(message);
  error.status = answer.status;
  throw error;
}

export function thumb(hit, space) {
  return `/thumbs/${hit.id}?space=${encodeURIComponent(space)}&content=${hit.content}`;
}

export function original(hit, space) {
  return `/api/images/${hit.id}/file?space=${encodeURIComponent(space)}`;
}

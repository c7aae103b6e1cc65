/* Passes OpenSSH's calls to a security key (sk-api.h, version 10) over a Unix socket to a key in software. */

#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define SSH_SK_VERSION_MAJOR 0x000a0000
#define SSH_SK_ERR_GENERAL -1
#define SSH_SK_ERR_UNSUPPORTED -2
#define SSH_SK_ERR_DEVICE_NOT_FOUND -4

struct sk_option;
struct sk_resident_key;

struct sk_enroll_response {
	uint8_t flags;
	uint8_t *public_key;
	size_t public_key_len;
	uint8_t *key_handle;
	size_t key_handle_len;
	uint8_t *signature;
	size_t signature_len;
	uint8_t *attestation_cert;
	size_t attestation_cert_len;
	uint8_t *authdata;
	size_t authdata_len;
};

struct sk_sign_response {
	uint8_t flags;
	uint32_t counter;
	uint8_t *sig_r;
	size_t sig_r_len;
	uint8_t *sig_s;
	size_t sig_s_len;
};

struct text {
	uint8_t bytes[65536];
	size_t length, read;
};

static void number(struct text *to, uint32_t value)
{
	for (int shift = 24; shift >= 0; shift -= 8)
		to->bytes[to->length++] = (uint8_t)(value >> shift);
}

static int put(struct text *to, const void *bytes, size_t length)
{
	if (length > sizeof(to->bytes) - to->length - 4)
		return -1;
	number(to, (uint32_t)length);
	if (length > 0)
		memcpy(to->bytes + to->length, bytes, length);
	to->length += length;
	return 0;
}

static uint32_t take_number(struct text *from)
{
	uint32_t value = 0;
	for (int i = 0; i < 4; i++)
		value = value << 8 | (from->read < from->length ? from->bytes[from->read++] : 0);
	return value;
}

/* A copy on the heap, for OpenSSH to free. */
static int take(struct text *from, uint8_t **bytes, size_t *length)
{
	*length = take_number(from);
	if (*length > from->length - from->read || (*bytes = malloc(*length + 1)) == NULL)
		return -1;
	memcpy(*bytes, from->bytes + from->read, *length);
	from->read += *length;
	return 0;
}

static int all(int fd, uint8_t *bytes, size_t length, ssize_t (*move)(int, void *, size_t))
{
	while (length > 0) {
		ssize_t moved = move(fd, bytes, length);
		if (moved <= 0)
			return -1;
		bytes += moved;
		length -= (size_t)moved;
	}
	return 0;
}

static ssize_t out(int fd, void *bytes, size_t length)
{
	return write(fd, bytes, length);
}

/* Sends what `text` holds and fills it with the reply behind the status. */
static int ask(struct text *text)
{
	struct sockaddr_un to = { .sun_family = AF_UNIX };
	const char *path = getenv("SOFT_KEY_SOCKET");
	struct text head = { .length = 0 };
	int status = SSH_SK_ERR_DEVICE_NOT_FOUND;
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd < 0 || path == NULL || strlen(path) >= sizeof(to.sun_path))
		goto done;
	strcpy(to.sun_path, path);
	if (connect(fd, (struct sockaddr *)&to, sizeof(to)) < 0)
		goto done;
	status = SSH_SK_ERR_GENERAL;
	number(&head, (uint32_t)text->length);
	if (all(fd, head.bytes, 4, out) < 0 || all(fd, text->bytes, text->length, out) < 0)
		goto done;
	if (all(fd, head.bytes, 4, read) < 0)
		goto done;
	text->length = take_number(&head);
	text->read = 0;
	if (text->length < 4 || text->length > sizeof(text->bytes) || all(fd, text->bytes, text->length, read) < 0)
		goto done;
	status = (int)take_number(text);
done:
	if (fd >= 0)
		close(fd);
	return status;
}

static int call(struct text *text, uint8_t what, uint32_t alg, uint8_t flags, const char *application, const char *pin,
    const uint8_t *handle, size_t handle_length, const uint8_t *data, size_t data_length)
{
	text->length = text->read = 0;
	text->bytes[text->length++] = what;
	text->bytes[text->length++] = (uint8_t)alg;
	text->bytes[text->length++] = flags;
	if (put(text, application, strlen(application)) < 0 || put(text, pin, pin == NULL ? 0 : strlen(pin)) < 0 ||
	    put(text, handle, handle_length) < 0 || put(text, data, data_length) < 0)
		return SSH_SK_ERR_GENERAL;
	return ask(text);
}

uint32_t sk_api_version(void)
{
	return SSH_SK_VERSION_MAJOR;
}

int sk_enroll(uint32_t alg, const uint8_t *challenge, size_t challenge_len, const char *application, uint8_t flags,
    const char *pin, struct sk_option **options, struct sk_enroll_response **enroll_response)
{
	static struct text text;
	struct sk_enroll_response *response;
	int status = call(&text, 'E', alg, flags, application, pin, NULL, 0, challenge, challenge_len);

	(void)options;
	if (status != 0)
		return status;
	if ((response = calloc(1, sizeof(*response))) == NULL)
		return SSH_SK_ERR_GENERAL;
	response->flags = flags;
	if (take(&text, &response->public_key, &response->public_key_len) < 0 ||
	    take(&text, &response->key_handle, &response->key_handle_len) < 0)
		return SSH_SK_ERR_GENERAL;
	*enroll_response = response;
	return 0;
}

int sk_sign(uint32_t alg, const uint8_t *data, size_t data_len, const char *application, const uint8_t *key_handle,
    size_t key_handle_len, uint8_t flags, const char *pin, struct sk_option **options,
    struct sk_sign_response **sign_response)
{
	static struct text text;
	struct sk_sign_response *response;
	int status = call(&text, 'S', alg, flags, application, pin, key_handle, key_handle_len, data, data_len);

	(void)options;
	if (status != 0)
		return status;
	if ((response = calloc(1, sizeof(*response))) == NULL || text.read >= text.length)
		return SSH_SK_ERR_GENERAL;
	response->flags = text.bytes[text.read++];
	response->counter = take_number(&text);
	if (take(&text, &response->sig_r, &response->sig_r_len) < 0 ||
	    take(&text, &response->sig_s, &response->sig_s_len) < 0)
		return SSH_SK_ERR_GENERAL;
	*sign_response = response;
	return 0;
}

int sk_load_resident_keys(const char *pin, struct sk_option **options, struct sk_resident_key ***keys, size_t *count)
{
	(void)pin;
	(void)options;
	(void)keys;
	(void)count;
	return SSH_SK_ERR_UNSUPPORTED;
}

/* test_archive.c: an archive written and read back, and every way we could think of to hand over a bad one: damage at every
 * bit and every length, and crafted ones with a sound container and something wrong inside. */
#include "archive/archive.h"
#include "base/file.h"
#include <temper/rng.h>

#include <archive.h>
#include <archive_entry.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

static char folder[] = "/tmp/temper-archive-XXXXXX";
static char path[128], other[128];
static tm_store *store;

static int set_up(void **state) {
    char *root;
    (void)state;
    if (mkdtemp(folder) == NULL) {
        return -1;
    }
    snprintf(path, sizeof path, "%s/a.temper", folder);
    snprintf(other, sizeof other, "%s/b.temper", folder);
    root = tm_path_join(folder, "store");
    if (tm_store_open(root, &store, NULL) != TEMPER_OK) {
        return -1;
    }
    free(root);
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    tm_store_close(store);
    return tm_folder_remove(folder, NULL) == TEMPER_OK ? 0 : -1;
}

/* run.json for some blobs; `extra` is text put before "blobs" ('"a":1,'), and must keep the order of names. */
static char *run_for(const tm_digest *blobs, size_t count, const char *before, const char *after) {
    tm_buffer text = TM_BUFFER_INIT;
    size_t i;
    tm_buffer_format(&text, "{%s\"blobs\":[", before);
    for (i = 0; i < count; i++) {
        char digest[TM_DIGEST_TEXT];
        tm_digest_text(&blobs[i], digest);
        tm_buffer_format(&text, "%s\"%s\"", i > 0 ? "," : "", digest);
    }
    tm_buffer_format(&text, "]%s}", after);
    return text.data;
}

static int by_bytes(const void *a, const void *b) {
    return memcmp(a, b, sizeof(tm_digest));
}

/* A few blobs in the store, sorted. */
static void make_blobs(tm_digest blobs[3]) {
    assert_int_equal(tm_store_put(store, "one\n", 4, &blobs[0], NULL), TEMPER_OK);
    assert_int_equal(tm_store_put(store, "", 0, &blobs[1], NULL), TEMPER_OK);
    assert_int_equal(tm_store_put(store, "{\"text\":\"three\"}\n", 17, &blobs[2], NULL), TEMPER_OK);
    qsort(blobs, 3, sizeof *blobs, by_bytes);
}

static const char volatile_json[] = "{\"host\":\"here\"}";
static const char report_html[] = "<!doctype html><title>a run</title>";

static tm_archive_content content_of(const tm_digest *blobs, size_t count, const char *run) {
    tm_archive_content content = {run,         strlen(run),         volatile_json, strlen(volatile_json),
                                  report_html, strlen(report_html), blobs,         count};
    return content;
}

static void write_sound(const char *to) {
    tm_digest blobs[3];
    tm_archive_content content;
    temper_error error = TEMPER_ERROR_INIT;
    char *run;
    make_blobs(blobs);
    run = run_for(blobs, 3, "", "");
    content = content_of(blobs, 3, run);
    if (tm_archive_write(store, &content, to, &error) != TEMPER_OK) {
        fail_msg("%s", error.message);
    }
    free(run);
}

static void refused(const char *from, const char *word) {
    temper_error error = TEMPER_ERROR_INIT;
    tm_archive archive;
    temper_status status = tm_archive_read(from, NULL, &archive, &error);
    if (status == TEMPER_OK) {
        tm_archive_free(&archive);
        fail_msg("accepted, where '%s' should have been refused", word);
    }
    if (strstr(error.message, word) == NULL) {
        fail_msg("refused for the wrong reason: '%s' has no '%s'", error.message, word);
    }
}

static void accepted(const char *from) {
    temper_error error = TEMPER_ERROR_INIT;
    tm_archive archive;
    if (tm_archive_read(from, NULL, &archive, &error) != TEMPER_OK) {
        fail_msg("%s", error.message);
    }
    tm_archive_free(&archive);
}

static void test_round_trip(void **state) {
    temper_error error = TEMPER_ERROR_INIT;
    tm_digest blobs[3], id;
    tm_archive archive;
    tm_store *fresh;
    char *run, *root = tm_path_join(folder, "fresh");
    size_t i;
    (void)state;
    make_blobs(blobs);
    run = run_for(blobs, 3, "", "");
    write_sound(path);
    assert_int_equal(tm_store_open(root, &fresh, NULL), TEMPER_OK);
    if (tm_archive_read(path, fresh, &archive, &error) != TEMPER_OK) {
        fail_msg("%s", error.message);
    }
    id = tm_digest_of(run, strlen(run));
    assert_true(tm_digest_equal(&id, &archive.id));
    assert_int_equal(archive.blob_count, 3);
    for (i = 0; i < 3; i++) {
        const void *data;
        size_t size;
        assert_true(tm_digest_equal(&archive.blobs[i], &blobs[i]));
        assert_int_equal(tm_store_map(fresh, &blobs[i], &data, &size, NULL), TEMPER_OK);
        tm_store_unmap(fresh, data, size);
    }
    assert_string_equal(tm_json_text(tm_json_member(archive.details, "host"), ""), "here");
    assert_int_equal(archive.report_length, strlen(report_html));
    assert_memory_equal(archive.report, report_html, archive.report_length);
    tm_archive_free(&archive);
    tm_store_close(fresh);
    free(root);
    free(run);
}

/* One that Python's tarfile and the zstd program made, with our last frame: the format is no private matter. */
static void test_foreign_tools(void **state) {
    tm_archive archive;
    temper_error error = TEMPER_ERROR_INIT;
    (void)state;
    if (tm_archive_read("tests/fuzz/corpus/archive/whole.temper", NULL, &archive, &error) != TEMPER_OK) {
        fail_msg("%s", error.message);
    }
    assert_int_equal(archive.blob_count, 2);
    tm_archive_free(&archive);
}

/* Equal content gives an equal tar, and tar reads it. */
static void test_tar_reads_it(void **state) {
    static const char listing[] =
        "test \"$(tar --zstd -tf '%s' | tr '\\n' ' ' | sed 's/[0-9a-f]\\{64\\}/H/g')\" = "
        "'blobs/sha256/H blobs/sha256/H blobs/sha256/H report.html run.json volatile.json '";
    static const char same[] = "test \"$(zstd -dcq '%s' | sha256sum)\" = \"$(zstd -dcq '%s' | sha256sum)\"";
    char command[1024];
    (void)state;
    write_sound(path);
    write_sound(other);
    if (system("command -v zstd >/dev/null && command -v tar >/dev/null") != 0) {
        print_message("skipped: no tar or no zstd\n");
        skip();
    }
    snprintf(command, sizeof command, listing, path);
    assert_int_equal(system(command), 0);
    snprintf(command, sizeof command, same, path, other);
    assert_int_equal(system(command), 0);
}

/* In place: a file that is truncated and written again would go to the disk each time. */
static void test_every_bit(void **state) {
    tm_buffer bytes = TM_BUFFER_INIT;
    size_t at;
    unsigned bit;
    int file;
    (void)state;
    write_sound(path);
    assert_int_equal(tm_file_read(path, 1 << 20, &bytes, NULL), TEMPER_OK);
    file = open(path, O_WRONLY);
    for (at = 0; at < bytes.length; at++) {
        for (bit = 0; bit < 8; bit++) {
            char flipped = (char)(bytes.data[at] ^ (1 << bit));
            tm_archive archive;
            assert_int_equal(pwrite(file, &flipped, 1, (off_t)at), 1);
            if (tm_archive_read(path, NULL, &archive, NULL) == TEMPER_OK) {
                fail_msg("bit %u of byte %zu was missed", bit, at);
            }
        }
        assert_int_equal(pwrite(file, &bytes.data[at], 1, (off_t)at), 1);
    }
    close(file);
    accepted(path);
    tm_buffer_free(&bytes);
}

static void test_every_length(void **state) {
    tm_buffer bytes = TM_BUFFER_INIT;
    size_t length;
    (void)state;
    write_sound(path);
    assert_int_equal(tm_file_read(path, 1 << 20, &bytes, NULL), TEMPER_OK);
    for (length = bytes.length; length > 0; length--) {
        assert_int_equal(truncate(path, (off_t)(length - 1)), 0);
        refused(path, "container");
    }
    tm_buffer_byte(&bytes, 0);
    assert_int_equal(tm_file_write(other, bytes.data, bytes.length, NULL), TEMPER_OK);
    refused(other, "container");
    tm_buffer_free(&bytes);
    refused(folder, "regular");
}

/* Crafting: a tar of our choice in a sound container. */
typedef struct craft {
    struct archive *tar;
    char *bytes;
} craft;

static size_t crafted; /* bytes of the one at hand; libarchive keeps its address */

enum { ROOM = 1 << 24 };

static craft craft_begin(int (*filter)(struct archive *)) {
    craft c = {archive_write_new(), malloc(ROOM)};
    crafted = 0;
    assert_int_equal(archive_write_set_format_pax_restricted(c.tar), ARCHIVE_OK);
    assert_int_equal(filter(c.tar), ARCHIVE_OK);
    archive_write_set_bytes_in_last_block(c.tar, 1);
    assert_int_equal(archive_write_open_memory(c.tar, c.bytes, ROOM, &crafted), ARCHIVE_OK);
    return c;
}

static struct archive_entry *plain_entry(const char *name, size_t size) {
    struct archive_entry *entry = archive_entry_new();
    archive_entry_set_pathname(entry, name);
    archive_entry_set_filetype(entry, AE_IFREG);
    archive_entry_set_perm(entry, 0644);
    archive_entry_set_mtime(entry, 0, 0);
    archive_entry_set_size(entry, (la_int64_t)size);
    return entry;
}

static void put_entry(craft *c, struct archive_entry *entry, const void *bytes, size_t count) {
    assert_int_equal(archive_write_header(c->tar, entry), ARCHIVE_OK);
    assert_int_equal(archive_write_data(c->tar, bytes, count), (la_ssize_t)count);
    archive_entry_free(entry);
}

static void put(craft *c, const char *name, const void *bytes, size_t count) {
    put_entry(c, plain_entry(name, count), bytes, count);
}

static void put_text(craft *c, const char *name, const char *text) {
    put(c, name, text, strlen(text));
}

static void seal(const void *bytes, size_t count, const char *to) {
    static const char head[16] = "\x50\x2A\x4D\x18\x28\0\0\0TEMPERS1";
    tm_digest digest = tm_digest_of(bytes, count);
    FILE *file;
    unlink(to);
    file = fopen(to, "wb");
    assert_int_equal(fwrite(bytes, 1, count, file), count);
    assert_int_equal(fwrite(head, 1, sizeof head, file), sizeof head);
    assert_int_equal(fwrite(digest.bytes, 1, 32, file), 32);
    assert_int_equal(fclose(file), 0);
}

static void craft_end(craft *c, const char *to) {
    assert_int_equal(archive_write_close(c->tar), ARCHIVE_OK);
    archive_write_free(c->tar);
    seal(c->bytes, crafted, to);
    free(c->bytes);
}

static void put_documents(craft *c, const char *run) {
    put_text(c, "run.json", run);
    put_text(c, "volatile.json", volatile_json);
}

static void test_crafted_sound(void **state) {
    tm_archive archive;
    temper_error error = TEMPER_ERROR_INIT;
    craft c = craft_begin(archive_write_add_filter_zstd);
    (void)state;
    put_documents(&c, "{\"blobs\":[]}");
    craft_end(&c, other);
    if (tm_archive_read(other, NULL, &archive, &error) != TEMPER_OK) {
        fail_msg("the crafting itself is at fault: %s", error.message);
    }
    assert_null(archive.report);
    tm_archive_free(&archive);
}

static void test_names(void **state) {
    static const char *const names[] = {
        "../x",
        "/etc/passwd",
        "./run.json",
        "blobs/../run.json",
        "blobs/sha256/../../x",
        "blobs/sha256/ab",
        "RUN.JSON",
        "run.json/",
        "a\x1b[31m",
        "blobs/sha256/ABCDEF0123456789abcdef0123456789abcdef0123456789abcdef0123456789"};
    size_t i;
    (void)state;
    for (i = 0; i < sizeof names / sizeof names[0]; i++) {
        craft c = craft_begin(archive_write_add_filter_zstd);
        put_text(&c, names[i], "x");
        craft_end(&c, other);
        refused(other, "name");
    }
}

static void test_kinds(void **state) {
    struct archive_entry *entry;
    craft c = craft_begin(archive_write_add_filter_zstd);
    (void)state;
    entry = plain_entry("run.json", 0);
    archive_entry_set_filetype(entry, AE_IFLNK);
    archive_entry_set_symlink(entry, "/etc/passwd");
    put_entry(&c, entry, "", 0);
    craft_end(&c, other);
    refused(other, "link");

    c = craft_begin(archive_write_add_filter_zstd);
    put_text(&c, "run.json", "{\"blobs\":[]}");
    entry = plain_entry("volatile.json", 0);
    archive_entry_set_hardlink(entry, "run.json");
    put_entry(&c, entry, "", 0);
    craft_end(&c, other);
    refused(other, "link");

    c = craft_begin(archive_write_add_filter_zstd);
    entry = plain_entry("run.json", 0);
    archive_entry_set_filetype(entry, AE_IFIFO);
    put_entry(&c, entry, "", 0);
    craft_end(&c, other);
    refused(other, "regular");

    c = craft_begin(archive_write_add_filter_zstd);
    entry = plain_entry("run.json", 2);
    archive_entry_set_perm(entry, 04755);
    put_entry(&c, entry, "{}", 2);
    craft_end(&c, other);
    refused(other, "mode");

    c = craft_begin(archive_write_add_filter_zstd);
    entry = plain_entry("run.json", 2);
    archive_entry_set_mtime(entry, 12345, 0);
    put_entry(&c, entry, "{}", 2);
    craft_end(&c, other);
    refused(other, "time");
}

static void test_order_and_duplicates(void **state) {
    craft c = craft_begin(archive_write_add_filter_zstd);
    (void)state;
    put_text(&c, "run.json", "{\"blobs\":[]}");
    put_text(&c, "run.json", "{\"blobs\":[]}");
    put_text(&c, "volatile.json", volatile_json);
    craft_end(&c, other);
    refused(other, "twice");

    c = craft_begin(archive_write_add_filter_zstd);
    put_text(&c, "volatile.json", volatile_json);
    put_text(&c, "run.json", "{\"blobs\":[]}");
    craft_end(&c, other);
    refused(other, "order");

    c = craft_begin(archive_write_add_filter_zstd);
    put_text(&c, "run.json", "{\"blobs\":[]}");
    craft_end(&c, other);
    refused(other, "'volatile.json' is missing");

    c = craft_begin(archive_write_add_filter_zstd);
    put_text(&c, "volatile.json", volatile_json);
    craft_end(&c, other);
    refused(other, "'run.json' is missing");
}

static void entry_name(const tm_digest *digest, char name[96]) {
    char text[TM_DIGEST_TEXT];
    tm_digest_text(digest, text);
    snprintf(name, 96, "blobs/sha256/%s", text + 7);
}

/* A crafted archive of the blob "one\n" and this run.json. */
static void craft_run(const char *run) {
    tm_digest digest = tm_digest_of("one\n", 4);
    char name[96];
    craft c = craft_begin(archive_write_add_filter_zstd);
    entry_name(&digest, name);
    put_text(&c, name, "one\n");
    put_documents(&c, run);
    craft_end(&c, other);
}

static void test_digests(void **state) {
    tm_digest digest = tm_digest_of("one\n", 4);
    char name[96], *run = run_for(&digest, 1, "", "");
    craft c = craft_begin(archive_write_add_filter_zstd);
    (void)state;
    entry_name(&digest, name);
    put_text(&c, name, "two\n");
    put_documents(&c, run);
    craft_end(&c, other);
    refused(other, name); /* the message names the entry */

    c = craft_begin(archive_write_add_filter_zstd);
    put_documents(&c, run);
    craft_end(&c, other);
    refused(other, "missing");
    free(run);

    craft_run("{\"blobs\":[]}");
    refused(other, "sorted 'blobs'");
    craft_run("{}");
    refused(other, "no array 'blobs'");
    craft_run("{\"blobs\":[\"sha256:12\"]}");
    refused(other, "no digest");
    craft_run("{\"blobs\": []}");
    refused(other, "canonical");
    craft_run("{\"blobs\":[],\"blobs\":[]}");
    refused(other, "duplicate");
    craft_run("[");
    refused(other, "run.json");
}

#define ABSENT "sha256:0000000000000000000000000000000000000000000000000000000000000001"

static void test_references(void **state) {
    tm_digest digest = tm_digest_of("one\n", 4);
    char *run;
    (void)state;
    run = run_for(&digest, 1, "",
                  ",\"stages\":[{\"id\":\"" ABSENT "\",\"outputs\":{\"rows\":{\"digest\":\"" ABSENT "\"}}}]");
    craft_run(run);
    refused(other, "neither there nor left out");
    free(run);
    run = run_for(&digest, 1, "",
                  ",\"left_out\":[{\"digest\":\"" ABSENT
                  "\",\"name\":\"model\"}],\"stages\":[{\"inputs\":[\"" ABSENT "\"]}]");
    craft_run(run);
    accepted(other);
    free(run);
    run = run_for(&digest, 1, "", ",\"left_out\":[{\"digest\":\"" ABSENT "\"}]");
    craft_run(run);
    refused(other, "no name");
    free(run);
    run = run_for(&digest, 1, "", ",\"stages\":[{\"id\":\"" ABSENT "\"}]");
    craft_run(run); /* a digest elsewhere is only an identity */
    accepted(other);
    free(run);
}

/* The files of a tree must be there as well; the writer says so, too. */
static void test_trees(void **state) {
    temper_error error = TEMPER_ERROR_INIT;
    tm_tree_entry entries[1] = {{(char *)(uintptr_t) "model.bin", {{0}}, 0}};
    tm_tree tree = {entries, 1};
    tm_archive_content content;
    tm_digest blobs[2];
    char text[TM_DIGEST_TEXT], after[256], *run;
    (void)state;
    assert_int_equal(tm_store_put(store, "weights", 7, &entries[0].digest, NULL), TEMPER_OK);
    assert_int_equal(tm_store_put_tree(store, &tree, &blobs[0], NULL), TEMPER_OK);
    tm_digest_text(&blobs[0], text);
    snprintf(after, sizeof after, ",\"trees\":[\"%s\"]", text);

    run = run_for(blobs, 1, "", after);
    content = content_of(blobs, 1, run);
    assert_int_equal(tm_archive_write(store, &content, other, &error), TEMPER_INVALID);
    assert_non_null(strstr(error.message, "model.bin"));
    free(run);

    blobs[1] = entries[0].digest;
    qsort(blobs, 2, sizeof *blobs, by_bytes);
    run = run_for(blobs, 2, "", after);
    content = content_of(blobs, 2, run);
    assert_int_equal(tm_archive_write(store, &content, other, &error), TEMPER_OK);
    accepted(other);
    free(run);

    tm_digest_text(&entries[0].digest, text); /* the file called a tree */
    snprintf(after, sizeof after, ",\"trees\":[\"%s\"]", text);
    run = run_for(blobs, 2, "", after);
    content = content_of(blobs, 2, run);
    assert_int_equal(tm_archive_write(store, &content, other, &error), TEMPER_INVALID);
    assert_non_null(strstr(error.message, "a tree, which it is not"));
    free(run);
}

static void test_containers(void **state) {
    craft c = craft_begin(archive_write_add_filter_none);
    (void)state;
    put_documents(&c, "{\"blobs\":[]}");
    craft_end(&c, other);
    refused(other, "zstd");
    c = craft_begin(archive_write_add_filter_gzip);
    put_documents(&c, "{\"blobs\":[]}");
    craft_end(&c, other);
    refused(other, "zstd");
    seal("", 0, other);
    refused(other, "container");
    seal("hello", 5, other);
    refused(other, "zstd");
}

/* A sound tar with something behind its end, and one without an end, both in a sound container. */
static void compress(const void *bytes, size_t count, const char *to) {
    size_t used = 0, room = count + 65536;
    struct archive *raw = archive_write_new();
    struct archive_entry *entry = plain_entry("data", count);
    char *out = malloc(room);
    assert_int_equal(archive_write_set_format_raw(raw), ARCHIVE_OK);
    assert_int_equal(archive_write_add_filter_zstd(raw), ARCHIVE_OK);
    archive_write_set_bytes_in_last_block(raw, 1);
    assert_int_equal(archive_write_open_memory(raw, out, room, &used), ARCHIVE_OK);
    assert_int_equal(archive_write_header(raw, entry), ARCHIVE_OK);
    assert_int_equal(archive_write_data(raw, bytes, count), (la_ssize_t)count);
    archive_entry_free(entry);
    assert_int_equal(archive_write_close(raw), ARCHIVE_OK);
    archive_write_free(raw);
    seal(out, used, to);
    free(out);
}

static void test_tar_ends(void **state) {
    craft c = craft_begin(archive_write_add_filter_none);
    size_t used;
    (void)state;
    put_documents(&c, "{\"blobs\":[]}");
    assert_int_equal(archive_write_close(c.tar), ARCHIVE_OK);
    used = crafted;
    compress(c.bytes, used, other);
    accepted(other);
    memset(c.bytes + used, 0, 4096);
    compress(c.bytes, used + 512, other); /* more zeros than the end has */
    refused(other, "besides its entries");
    memcpy(c.bytes + used, "hidden", 6);
    compress(c.bytes, used + 512, other);
    refused(other, "besides its entries");
    memcpy(c.bytes + used - 100, "hidden", 6);
    compress(c.bytes, used, other);
    refused(other, "follows");
    memset(c.bytes + used - 100, 0, 6);
    compress(c.bytes, used - 512, other);
    refused(other, "lacks its end");
    compress(c.bytes, used - 1024, other);
    refused(other, "lacks its end");
    compress(c.bytes, used - 1024 - 512, other);
    refused(other, "archive");
    archive_write_free(c.tar);
    free(c.bytes);
}

/* Every truncation of the compressed data, each in a sound container. */
static void test_cut_inside(void **state) {
    craft c = craft_begin(archive_write_add_filter_zstd);
    size_t used;
    (void)state;
    put_documents(&c, "{\"blobs\":[]}");
    assert_int_equal(archive_write_close(c.tar), ARCHIVE_OK);
    archive_write_free(c.tar);
    for (used = 1; used < crafted; used++) {
        seal(c.bytes, used, other);
        refused(other, "archive");
    }
    free(c.bytes);
}

/* A tar header that promises 8 GiB - 1 of nothing, as an honest bomb would: the header alone is refused. */
static void test_bomb(void **state) {
    static const char zeros[1 << 16];
    char name[96];
    tm_digest digest = tm_digest_of("", 0);
    struct archive_entry *entry;
    craft c = craft_begin(archive_write_add_filter_none);
    size_t i;
    (void)state;
    entry_name(&digest, name);
    entry = plain_entry(name, ((size_t)8 << 30) - 1);
    assert_int_equal(archive_write_header(c.tar, entry), ARCHIVE_OK);
    archive_entry_free(entry);
    for (i = 0; i < 64; i++) {
        assert_int_equal(archive_write_data(c.tar, zeros, sizeof zeros), (la_ssize_t)sizeof zeros);
    }
    compress(c.bytes, crafted, other);
    refused(other, "unpacks to more than");
    archive_write_free(c.tar); /* the rest does not fit into memory, and fails */
    free(c.bytes);

    /* An honest run.json of 65 MiB, which would be held in memory. */
    {
        size_t big = ((size_t)1 << 26) + 1;
        char *spaces = malloc(big);
        memset(spaces, ' ', big);
        c = craft_begin(archive_write_add_filter_zstd);
        put(&c, "run.json", spaces, big);
        craft_end(&c, other);
        free(spaces);
        refused(other, "larger than");
    }
}

static void test_too_many(void **state) {
    enum { COUNT = 100001 };
    tm_digest *digests = malloc(COUNT * sizeof *digests);
    uint32_t *order = malloc(COUNT * sizeof *order), i;
    tm_digest(*pairs)[2] = malloc(COUNT * sizeof *pairs);
    craft c = craft_begin(archive_write_add_filter_zstd);
    (void)state;
    for (i = 0; i < COUNT; i++) {
        memset(pairs[i], 0, sizeof pairs[i]);
        pairs[i][0] = tm_digest_of(&i, sizeof i);
        memcpy(pairs[i][1].bytes, &i, sizeof i);
    }
    qsort(pairs, COUNT, sizeof *pairs, by_bytes);
    for (i = 0; i < COUNT; i++) {
        char name[96];
        entry_name(&pairs[i][0], name);
        put(&c, name, pairs[i][1].bytes, sizeof i);
    }
    craft_end(&c, other);
    refused(other, "more than 100000 entries");
    free(digests);
    free(order);
    free(pairs);
}

/* Nothing is written that would not verify, and a failed write leaves nothing. */
static void test_writer_refuses(void **state) {
    temper_error error = TEMPER_ERROR_INIT;
    tm_digest blobs[3], absent = tm_digest_of("not in the store", 16);
    tm_archive_content content;
    char *run, **names, *nested = tm_path_join(folder, "empty");
    size_t count;
    (void)state;
    assert_int_equal(tm_folder_make(nested, NULL), TEMPER_OK);
    snprintf(other, sizeof other, "%s/empty/b.temper", folder);
    make_blobs(blobs);
    run = run_for(blobs, 2, "", "");
    content = content_of(blobs, 3, run); /* run.json lists fewer */
    assert_int_equal(tm_archive_write(store, &content, other, &error), TEMPER_INVALID);
    free(run);
    run = run_for(&absent, 1, "", "");
    content = content_of(&absent, 1, run);
    assert_int_equal(tm_archive_write(store, &content, other, &error), TEMPER_IO);
    assert_non_null(strstr(error.message, "not in the store"));
    free(run);
    content = content_of(NULL, 0, "{\"blobs\":[] }");
    assert_int_equal(tm_archive_write(store, &content, other, &error), TEMPER_INVALID);
    assert_int_equal(tm_folder_list(nested, &names, &count, NULL), TEMPER_OK);
    assert_int_equal(count, 0);
    free(names);
    free(nested);
    snprintf(other, sizeof other, "%s/b.temper", folder);
    content = content_of(NULL, 0, "{\"blobs\":[]}");
    assert_int_equal(tm_archive_write(store, &content, "/nonexistent/a.temper", &error), TEMPER_IO);
}

/* The disk is full in the middle of writing; RLIMIT_FSIZE stands in for it. */
static void test_no_space(void **state) {
    temper_error error = TEMPER_ERROR_INIT;
    size_t size = 1 << 20, i;
    char *bytes = malloc(size), *run, **names, *nested = tm_path_join(folder, "empty"),
         *full = tm_path_join(nested, "a");
    tm_archive_content content;
    struct rlimit before, small;
    tm_digest digest;
    size_t count;
    (void)state;
    for (i = 0; i < size; i += 4) { /* what zstd cannot make small */
        uint32_t word = (uint32_t)(temper_random(3, 0, i));
        memcpy(bytes + i, &word, 4);
    }
    assert_int_equal(tm_folder_make(nested, NULL), TEMPER_OK);
    assert_int_equal(tm_store_put(store, bytes, size, &digest, NULL), TEMPER_OK);
    run = run_for(&digest, 1, "", "");
    content = content_of(&digest, 1, run);
    signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    small = before;
    small.rlim_cur = 300000;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    assert_int_equal(tm_archive_write(store, &content, full, &error), TEMPER_IO);
    setrlimit(RLIMIT_FSIZE, &before);
    signal(SIGXFSZ, SIG_DFL);
    assert_non_null(strstr(error.message, "cannot write"));
    assert_int_equal(tm_folder_list(nested, &names, &count, NULL), TEMPER_OK);
    assert_int_equal(count, 0);
    assert_int_equal(tm_archive_write(store, &content, full, &error), TEMPER_OK);
    accepted(full);
    unlink(full);
    free(names);
    free(bytes);
    free(run);
    free(nested);
    free(full);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trip),
        cmocka_unit_test(test_tar_reads_it),
        cmocka_unit_test(test_foreign_tools),
        cmocka_unit_test(test_every_bit),
        cmocka_unit_test(test_every_length),
        cmocka_unit_test(test_crafted_sound),
        cmocka_unit_test(test_names),
        cmocka_unit_test(test_kinds),
        cmocka_unit_test(test_order_and_duplicates),
        cmocka_unit_test(test_digests),
        cmocka_unit_test(test_references),
        cmocka_unit_test(test_trees),
        cmocka_unit_test(test_containers),
        cmocka_unit_test(test_tar_ends),
        cmocka_unit_test(test_cut_inside),
        cmocka_unit_test(test_bomb),
        cmocka_unit_test(test_too_many),
        cmocka_unit_test(test_no_space),
        cmocka_unit_test(test_writer_refuses),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}

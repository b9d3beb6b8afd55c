/* test_archives.c: verify, reproduce, models left out, and models that come out of other runs. */
#include "program.h"

#include <stdio.h>

static const char paged[] = "local temper = require \"temper\"\nlocal patient = temper.plugin \"patient\"\n"
                            "local model = temper.model { \"model\", default = \"model\" }\n"
                            "local page = patient.page { model = model }\n"
                            "local n = patient.count { steps = 4 }\n"
                            "return { model = page.copy, report = page.page, numbers = n.numbers }\n";

static void write_paged(const program *p) {
    program_write(p, "paged.lua", paged);
    program_write(p, "model/config.json", "{\"model_type\":\"none\"}");
    program_write(p, "model/weights.safetensors", "not really weights");
}

static void shell(const program *p, const char *command) {
    char whole[1024];
    snprintf(whole, sizeof whole, "cd '%s' && %s", p->folder, command);
    assert_int_equal(system(whole), 0);
}

static void test_verify_and_reproduce(void **state) {
    program *p = *state;
    char *archive, command[512], *html;
    size_t length;
    write_paged(p);
    assert_int_equal(program_run(p, "run paged.lua"), 0);
    archive = program_word(p, "archive");
    assert_has(p->out, "report: runs/paged-");
    snprintf(command, sizeof command, "runs/%.*s.html", (int)(strlen(archive) - 12), archive + 5);
    html = program_read(p, command, &length);
    assert_non_null(html);
    assert_has(html, "config.json");
    free(html);
    snprintf(command, sizeof command, "verify %s", archive);
    assert_int_equal(program_run(p, command), 0);
    assert_has(p->out, "every byte is what the record says");
    /* In a store that knows nothing, without the model's folder. */
    shell(p, "rm -rf home model paged.lua");
    snprintf(command, sizeof command, "reproduce %s --threads 1", archive);
    assert_int_equal(program_run(p, command), 0);
    assert_has(p->out, "reproduced: all 2 stages bit for bit, and the run's id");
    assert_lacks(p->out, "DIFFERS");
    shell(p, "test -z \"$(ls -d temper-reproduce-* 2>/dev/null)\""); /* the fresh store is gone */
    free(archive);
}

static void test_damage(void **state) {
    program *p = *state;
    char *archive, command[512];
    write_paged(p);
    assert_int_equal(program_run(p, "run paged.lua"), 0);
    archive = program_word(p, "archive");
    snprintf(command, sizeof command,
             "cp %s whole && cp %s bent && printf X | dd of=bent bs=1 seek=200 conv=notrunc 2>/dev/null && "
             "head -c 300 whole > short "
             "&& : > empty",
             archive, archive);
    shell(p, command);
    assert_int_equal(program_run(p, "verify whole"), 0);
    assert_int_equal(program_run(p, "verify bent"), 1);
    assert_has(p->err, "bent");
    assert_int_equal(program_run(p, "reproduce bent"), 1);
    assert_int_equal(program_run(p, "verify short"), 1);
    assert_int_equal(program_run(p, "show empty"), 1);
    assert_int_equal(program_run(p, "explain bent whole"), 1);
    assert_int_equal(program_run(p, "run paged.lua --set model=bent.temper"), 1);
    free(archive);
}

/* A record whose outputs were exchanged for others verifies, for its digests agree; only doing it again shows it. */
static void test_forged(void **state) {
    program *p = *state;
    char *archive, command[512];
    program_write(p, "one.lua",
                  "local temper = require \"temper\"\nlocal patient = temper.plugin \"patient\"\n"
                  "local mode = temper.string { \"mode\", default = \"plain\" }\n"
                  "local n = patient.count { steps = 4, mode = mode }\nreturn { n = n.numbers }\n");
    assert_int_equal(program_run(p, "run one.lua --seed 1"), 0);
    archive = program_word(p, "archive");
    /* Another version of the plugin stands in for a forger: same name, other numbers. */
    snprintf(command, sizeof command, "reproduce %s", archive);
    assert_int_equal(program_run(p, command), 0);
    snprintf(command, sizeof command, "reproduce %s --plugins %s/forged", archive, TEST_PLUGIN_FOLDER);
    assert_int_equal(program_run(p, command), 1);
    assert_has(p->out, "DIFFERS");
    assert_has(p->out, "recorded with patient 1.0.0, revision 1; here 1.1.0, revision 2");
    assert_has(p->out, "NOT reproduced: 0 of 1 stages");
    free(archive);
}

static void test_left_out(void **state) {
    program *p = *state;
    char *archive, *id, command[512];
    write_paged(p);
    assert_int_equal(program_run(p, "run paged.lua --leave-out modle"), 1);
    assert_has(p->err, "--leave-out modle: the run takes no model of that name");
    assert_int_equal(program_run(p, "run paged.lua --leave-out model"), 0);
    archive = program_word(p, "archive");
    id = program_word(p, "run");
    assert_has(p->out, " --with ");
    snprintf(command, sizeof command, "verify %s", archive);
    assert_int_equal(program_run(p, command), 0);
    assert_has(p->out, "left out 2 files");
    snprintf(command, sizeof command, "reproduce %s", archive);
    assert_int_equal(program_run(p, command), 1);
    assert_has(p->err, "leaves out the model 'model' (model): give its folder with --with FOLDER");
    snprintf(command, sizeof command, "reproduce %s --with model", archive);
    assert_int_equal(program_run(p, command), 0);
    assert_has(p->out, "and the run's id");
    program_write(p, "other/config.json", "{}");
    snprintf(command, sizeof command, "reproduce %s --with other", archive);
    assert_int_equal(program_run(p, command), 1);
    assert_has(p->err, "--with other: it is sha256:");
    /* What was left out is part of the record: another id than with everything in. */
    assert_int_equal(program_run(p, "run paged.lua"), 0);
    {
        char *whole = program_word(p, "run");
        assert_string_not_equal(id, whole);
        free(whole);
    }
    free(archive);
    free(id);
}

static void test_model_of_a_run(void **state) {
    program *p = *state;
    char *archive, command[512];
    write_paged(p);
    assert_int_equal(program_run(p, "run paged.lua --name first"), 0);
    archive = program_word(p, "archive");
    shell(p, "rm -rf home");
    snprintf(command, sizeof command, "run paged.lua --set model=%s", archive);
    assert_int_equal(program_run(p, command), 0);
    assert_int_equal(program_run(p, "run paged.lua --set model=run:first"), 0);
    assert_has(p->out, "2 cached");
    snprintf(command, sizeof command, "run paged.lua --set model=%s#page.copy", archive);
    assert_int_equal(program_run(p, command), 0);
    snprintf(command, sizeof command, "run paged.lua --set model=%s#nothing", archive);
    assert_int_equal(program_run(p, command), 1);
    assert_has(p->err, "has no output nothing of kind model");
    assert_int_equal(program_run(p, "show first page copy"), 0);
    assert_has(p->out, "base/config.json");
    free(archive);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_verify_and_reproduce, program_setup, program_teardown),
        cmocka_unit_test_setup_teardown(test_damage, program_setup, program_teardown),
        cmocka_unit_test_setup_teardown(test_forged, program_setup, program_teardown),
        cmocka_unit_test_setup_teardown(test_left_out, program_setup, program_teardown),
        cmocka_unit_test_setup_teardown(test_model_of_a_run, program_setup, program_teardown),
    };
    return cmocka_run_group_tests_name("archives", tests, NULL, NULL);
}

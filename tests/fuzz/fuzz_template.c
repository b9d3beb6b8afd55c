/* fuzz_template.c: any bytes as a chat template. A refusal has a message; a rendering has an author for every byte, and
 * bytes by an assistant are the assistant's. */
#include "template/chat_template.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static const lm_message messages[] = {{"system", "sss", 3}, {"user", "uuu", 3}, {"assistant", "aaa", 3}};
    temper_error error = TEMPER_ERROR_INIT;
    lm_template *template;
    lm_rendering rendering;
    if (lm_template_compile((const char *)data, size, &template, &error)) {
        if (error.message[0] == 0) {
            abort();
        }
        return 0;
    }
    if (!lm_template_render(template, messages, 3, true, "<s>", "</s>", &rendering, &error)) {
        for (size_t i = 0; i < rendering.length; i++) {
            bool content = rendering.author[i] != LM_BY_TEMPLATE;
            if (rendering.author[i] > LM_BY_ASSISTANT || content != (rendering.message[i] < 3) ||
                (rendering.author[i] == LM_BY_ASSISTANT && (rendering.text[i] | 32) != 'a')) {
                abort();
            }
        }
        lm_rendering_free(&rendering);
    }
    lm_template_free(template);
    return 0;
}
